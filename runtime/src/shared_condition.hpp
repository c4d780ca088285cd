#pragma once

#include "shared_lock.hpp"

#include <creel/runtime/detail/lock_core.hpp>
#include <creel/runtime/detail/spin_lock.hpp>

namespace creel::detail {

/// In shared memory; changed by the owner of the lock. No step leaves it in a state that would need repair.
///
/// A notification is a permit that any thread may use which waited when it was given, so that one who dies
/// takes no notification with it. Who waited then is told by tickets: those below `limit`.
struct SharedConditionState {
  std::atomic<std::uint64_t> next_ticket{0};
  std::atomic<std::uint64_t> permits{0};
  std::atomic<std::uint64_t> limit{0};      // permits are for tickets below
  std::atomic<std::uint64_t> all_limit{0};  // tickets below need no permit: notify_all()
  SlotSet waiting;                          // processes with threads that wait
  std::array<std::atomic<std::uint64_t>, kSharedSlots> waiters{};  // generation << 32 | how many threads
};

/// What waits for a notification, of this process, at one condition of a SharedLock.
class SharedCondition {
 public:
  /// `object` is its identity in dumps; `kind`: MonitorWait or Parking.
  SharedCondition(SharedLock& lock, SharedConditionState& state, const void* object, const char* type,
                  std::string name, WaitKind kind);
  SharedCondition(const SharedCondition&) = delete;
  SharedCondition& operator=(const SharedCondition&) = delete;

  /// Gives the lock up, waits to be notified, takes the lock again, whatever the outcome.
  WaitOutcome wait(Deadline deadline);
  void notify_one();
  void notify_all();

  /// For the lock: what the owner has notified since it took the lock is rung when the lock is free.
  enum class Pending : std::uint8_t { None, Some, All };
  Pending take_pending() noexcept { return std::exchange(pending_, Pending::None); }
  void ring(Pending pending) noexcept;
  /// Whether threads wait here that nobody has notified.
  bool look() noexcept;

 private:
  bool may_go(std::uint64_t ticket) const noexcept;
  bool claim(std::uint64_t ticket) noexcept;
  WaitOutcome park_until_notified(const ThreadRecord& self, std::uint64_t ticket, Deadline deadline) noexcept;
  void change_waiters(std::int64_t by) noexcept;
  std::uint64_t count_waiters() noexcept;
  void prepend(ConditionNode& node) noexcept;
  void deliver() noexcept;

  SharedLock& lock_;
  SharedPresence& presence_;
  SharedConditionState& state_;
  const std::string name_;
  const Blocker blocker_;
  Pending pending_ = Pending::None;  // the owner's
  SpinLock list_lock_;               // guards what follows
  ConditionList list_;               // who can be notified stands before who cannot
  std::uint64_t all_seen_ = 0;
};

}  // namespace creel::detail
