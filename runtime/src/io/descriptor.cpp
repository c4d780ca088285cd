#include "descriptor.hpp"

#include "../thread_record.hpp"

#include <creel/runtime/error.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace creel::detail {
namespace {

int without_blocking(const UniqueFd& fd, const std::string& peer) {
  const int flags = ::fcntl(fd.get(), F_GETFL);
  if (flags < 0 || ((flags & O_NONBLOCK) == 0 && ::fcntl(fd.get(), F_SETFL, flags | O_NONBLOCK) != 0)) {
    throw IoError("make a descriptor non-blocking", peer, errno);
  }
  return fd.get();
}

bool is_a_socket(int fd) noexcept {
  struct stat status {};
  return ::fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

}  // namespace

Descriptor::Descriptor(UniqueFd fd, const char* type, std::string peer)
    : fd_(without_blocking(fd, peer)),
      is_socket_(is_a_socket(fd_)),
      watch_(IoLoop::instance().take_watch()),
      type_(type),
      peer_(std::move(peer)) {
  fd.release();
}

bool Descriptor::was_interrupted() noexcept { return current_record().take_interrupt(); }

ReadyOutcome Descriptor::wait(Ready ready, const char* what, std::uint64_t seen, Deadline deadline) {
  const Blocker blocker{.object = this, .type = type_, .name = what};
  const WaitOutcome outcome = IoLoop::instance().wait(watch_, fd_, ready, seen, blocker, deadline);
  if (outcome == WaitOutcome::Interrupted) return ReadyOutcome::Interrupted;  // its flag is taken
  if (is_closed()) return ReadyOutcome::Closed;
  return outcome == WaitOutcome::TimedOut ? ReadyOutcome::TimedOut : ReadyOutcome::Ready;
}

void Descriptor::close() noexcept {
  if ((uses_.fetch_or(kClosed, std::memory_order_acq_rel) & kClosed) != 0) return;
  watch_.read.announce();
  watch_.write.announce();
  leave();
}

bool Descriptor::enter() noexcept {
  std::uint64_t uses = uses_.load(std::memory_order_relaxed);
  while ((uses & kClosed) == 0) {
    if (uses_.compare_exchange_weak(uses, uses + kOneUse, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void Descriptor::leave() noexcept {
  // acq_rel: all that was done with the descriptor is done before it is closed.
  if (uses_.fetch_sub(kOneUse, std::memory_order_acq_rel) != (kOneUse | kClosed)) return;
  IoLoop::instance().return_watch(watch_, fd_);
  ::close(fd_);
}

}  // namespace creel::detail
