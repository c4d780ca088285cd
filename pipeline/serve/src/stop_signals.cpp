#include "stop_signals.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace creel::pipeline {
namespace {

// Number of the signal that came, 0 before. All that the handler touches.
std::atomic<std::uint32_t> came{0};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

extern "C" void creel_serve_on_stop_signal(int signal) {
  const int saved = errno;
  came.store(static_cast<std::uint32_t>(signal));
  LockSupport::wake(came, 1);  // one system call, fit for a handler
  errno = saved;
}

}  // namespace

StopSignals::StopSignals() {
  came = 0;
  struct sigaction action {};
  action.sa_handler = creel_serve_on_stop_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &old_term_);
  sigaction(SIGINT, &action, &old_int_);
}

StopSignals::~StopSignals() { restore(); }

void StopSignals::restore() noexcept {
  if (!installed_) return;
  installed_ = false;
  sigaction(SIGTERM, &old_term_, nullptr);
  sigaction(SIGINT, &old_int_, nullptr);
}

int StopSignals::wait() {
  const Blocker blocker{.object = &came,
                        .type = "creel::pipeline::StopSignals",
                        .name = "SIGTERM or SIGINT",
                        .owner = nullptr,
                        .kind = WaitKind::External};
  while (came == 0) {
    if (LockSupport::wait_on(came, 0, blocker) == LockSupport::Wake::Interrupted) {
      Thread::interrupted();
      throw InterruptedError("waiting for SIGTERM or SIGINT");
    }
  }
  restore();
  return static_cast<int>(came.load());
}

}  // namespace creel::pipeline
