#include "signal_relay.hpp"

#include <creel/runtime/error.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

namespace creel::pipeline::detail {
namespace {

std::atomic<int> relay_fd{-1};
static_assert(std::atomic<int>::is_always_lock_free, "read in a signal handler");

void relay(int signal) {
  const int saved = errno;
  const auto byte = static_cast<unsigned char>(signal);
  // A full pipe holds plenty of signals already.
  [[maybe_unused]] const ssize_t written = ::write(relay_fd.load(std::memory_order_relaxed), &byte, 1);
  errno = saved;
}

}  // namespace

SignalRelay::SignalRelay(std::initializer_list<int> signals) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw IoError("cannot make a pipe for signals", "", errno);
  read_.reset(ends[0]);
  write_.reset(ends[1]);
  relay_fd.store(write_.get(), std::memory_order_relaxed);
  for (const int signal : signals) {
    struct sigaction action {};
    action.sa_handler = relay;
    action.sa_flags = SA_RESTART;
    ::sigfillset(&action.sa_mask);
    Replaced& old = replaced_.emplace_back(Replaced{signal, {}});
    ::sigaction(signal, &action, &old.action);
  }
}

SignalRelay::~SignalRelay() {
  for (const Replaced& old : replaced_) ::sigaction(old.signal, &old.action, nullptr);
  relay_fd.store(-1, std::memory_order_relaxed);
}

std::optional<int> SignalRelay::next() noexcept {
  unsigned char byte = 0;
  if (::read(read_.get(), &byte, 1) != 1) return std::nullopt;
  return byte;
}

}  // namespace creel::pipeline::detail
