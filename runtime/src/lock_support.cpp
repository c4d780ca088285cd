#include "fork_join_state.hpp"
#include "sync_point.hpp"
#include "thread_record.hpp"
#include "virtual_thread.hpp"
#include "wait_publication.hpp"

#include <creel/runtime/lock_support.hpp>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

namespace creel {
namespace {

using detail::ThreadRecord;
using namespace std::chrono_literals;

// Waits while `word == expected`; returns on a wake-up, at `deadline`, at a signal, or for no reason.
void futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Deadline deadline,
                bool shared) noexcept {
  timespec when{};
  if (!deadline.is_never()) {
    const auto since_start = deadline.time_point().time_since_epoch();  // steady_clock is CLOCK_MONOTONIC
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since_start);
    when.tv_sec = static_cast<std::time_t>(seconds.count());
    when.tv_nsec = static_cast<long>(std::chrono::nanoseconds(since_start - seconds).count());
  }
  // The bitset form takes an absolute time, so that a wake-up without a reason does not lengthen the wait.
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | (shared ? 0 : FUTEX_PRIVATE_FLAG), expected,
            deadline.is_never() ? nullptr : &when, nullptr, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(const std::atomic<std::uint32_t>& word, int count, bool shared) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE | (shared ? 0 : FUTEX_PRIVATE_FLAG), count, nullptr, nullptr, 0);
}

bool take_permit(ThreadRecord& self) noexcept {
  // acquire: what happened before unpark() happens before park() returns.
  return self.permit.load(std::memory_order_relaxed) == ThreadRecord::kPermit &&
         self.permit.exchange(ThreadRecord::kNoPermit, std::memory_order_acquire) == ThreadRecord::kPermit;
}

struct Park {
  ThreadRecord& self;
  Deadline deadline;
};

void park_platform(void* argument) {
  const auto& [self, deadline] = *static_cast<Park*>(argument);
  std::uint32_t expected = ThreadRecord::kNoPermit;
  if (self.permit.compare_exchange_strong(expected, ThreadRecord::kParked, std::memory_order_acquire)) {
    futex_wait(self.permit, ThreadRecord::kParked, deadline, false);
  }
  self.permit.exchange(ThreadRecord::kNoPermit, std::memory_order_acquire);
}

// In a PinnedScope: the carrier waits too.
void park_pinned(ThreadRecord& self, Deadline deadline) {
  std::uint32_t expected = ThreadRecord::kNoPermit;
  if (self.permit.compare_exchange_strong(expected, ThreadRecord::kParkedPinned, std::memory_order_acquire)) {
    const detail::PinnedWait wait;
    futex_wait(self.permit, ThreadRecord::kParkedPinned, deadline, false);
  }
  self.permit.exchange(ThreadRecord::kNoPermit, std::memory_order_acquire);
}

void park_virtual(void* argument) {
  const auto& [self, deadline] = *static_cast<Park*>(argument);
  auto& thread = static_cast<detail::VirtualThread&>(self);
  if (thread.pinned) [[unlikely]] {
    park_pinned(thread, deadline);
  } else {
    detail::park_virtual(thread, deadline);
  }
}

}  // namespace

void LockSupport::park(const Blocker& blocker, Deadline deadline) noexcept {
  ThreadRecord& self = detail::current_record();
  if (detail::switch_point()) return;  // for no reason, as it may
  if (take_permit(self) || self.interrupted.load(std::memory_order_relaxed) || deadline.expired()) return;
  Park park{self, deadline};
  detail::run_published(self, blocker, !deadline.is_never(), self.is_virtual ? park_virtual : park_platform,
                        &park);
}

void LockSupport::unpark(const Thread& thread) noexcept {
  if (thread) unpark(*thread.record());
}

void LockSupport::unpark(ThreadRecord& record) noexcept {
  detail::sync_point();
  // release: pairs with the exchange of the thread that takes the permit.
  const std::uint32_t before = record.permit.exchange(ThreadRecord::kPermit, std::memory_order_acq_rel);
  if (before < ThreadRecord::kParked) return;
  if (record.is_virtual && before != ThreadRecord::kParkedPinned) {
    detail::unpark_virtual(static_cast<detail::VirtualThread&>(record));
  } else {
    futex_wake(record.permit, 1, false);
  }
}

LockSupport::Wake LockSupport::wait_on(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                                       const Blocker& blocker, Deadline deadline, Scope scope) noexcept {
  struct Wait {
    ThreadRecord& self;
    const std::atomic<std::uint32_t>& word;
    std::uint32_t expected;
    Deadline deadline;
    bool shared;
    Wake wake = Wake::Changed;
  } wait{detail::current_record(), word, expected, deadline, scope == Scope::Shared};
  const auto body = [](void* argument) {
    Wait& w = *static_cast<Wait*>(argument);
    while (w.word.load(std::memory_order_acquire) == w.expected) {
      if (w.self.interrupted.load(std::memory_order_relaxed)) {
        w.wake = Wake::Interrupted;
        return;
      }
      if (w.deadline.expired()) {
        w.wake = Wake::TimedOut;
        return;
      }
      // interrupt() does not know the word, so that the wait is cut into slices.
      futex_wait(w.word, w.expected, std::min(w.deadline, Deadline(50ms)), w.shared);
    }
  };
  if (word.load(std::memory_order_acquire) != expected) return Wake::Changed;
  const detail::CarrierCompensation compensation{wait.self};
  detail::run_published(wait.self, blocker, !deadline.is_never(), body, &wait);
  return wait.wake;
}

void LockSupport::wake(const std::atomic<std::uint32_t>& word, int count, Scope scope) noexcept {
  futex_wake(word, count, scope == Scope::Shared);
}

void detail::run_blocking(const char* what, void (*body)(void*), void* argument) {
  ThreadRecord& self = current_record();
  const CarrierCompensation compensation{self};
  const ForkJoinCompensation fork_join_compensation;
  const Blocker blocker{.type = "creel::blocking", .name = what, .kind = WaitKind::External};
  run_published(self, blocker, false, body, argument);
}

}  // namespace creel
