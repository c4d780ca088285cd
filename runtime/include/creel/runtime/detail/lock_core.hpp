#pragma once

#include <creel/runtime/detail/wait_queue.hpp>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

namespace creel::detail {

/// The waiters of one condition, in order; guarded by the lock that the condition belongs to.
struct ConditionList {
  ConditionNode* head = nullptr;
  ConditionNode* tail = nullptr;

  void append(ConditionNode& node) noexcept;
  void remove(ConditionNode& node) noexcept;
};

/// The reentrant lock with a known owner under Monitor and ReentrantLock.
///
/// Taking and giving it back costs a compare-and-swap each when nobody else wants it. Unlocking wakes the
/// longest waiting thread but does not hand over: a thread that comes by may take the lock first (unless
/// fair), which keeps the lock busy while the woken one is on its way; one that was passed by several times
/// in a row goes first. notify() wakes nobody: the notified threads are woken when the lock is free again,
/// since they could do nothing before.
class LockCore {
 public:
  /// How often a thread may hold a lock at a time: Java's number. One more is an Error, and not taken.
  static constexpr std::uint32_t kMostHolds = 2147483647;

  /// `type` is a static string; a monitor is BLOCKED in dumps where other locks are WAITING.
  LockCore(const char* type, bool monitor, bool fair, std::string name)
      : monitor_(monitor), fair_(fair), type_(type), name_(std::move(name)) {}
  ~LockCore();
  LockCore(const LockCore&) = delete;
  LockCore& operator=(const LockCore&) = delete;

  /// `stack_pointer`: of the frame that locks, see caller_stack_pointer().
  WaitOutcome lock(std::uintptr_t stack_pointer, Deadline deadline, Interruptible interruptible);
  bool try_lock(std::uintptr_t stack_pointer);
  void unlock();

  /// Gives the lock up, waits to be notified, takes the lock again (whatever the outcome).
  WaitOutcome wait(ConditionList& list, const Blocker& blocker, Deadline deadline,
                   Interruptible interruptible);
  void notify_one(ConditionList& list);
  void notify_all(ConditionList& list);

  bool is_fair() const noexcept { return fair_; }
  bool is_locked() const noexcept { return word_.load(std::memory_order_relaxed) != kFree; }
  bool is_held_by_current_thread() const noexcept;
  /// How many times the calling thread has taken it; 0 if it does not hold it.
  std::uint32_t hold_count() const noexcept;
  std::uint32_t queue_length() const noexcept { return queue_.size(); }
  bool has_queued(const ThreadRecord* thread) const noexcept { return queue_.contains(thread); }
  /// Id of the owner, 0 if there is none; see Blocker::owner.
  const std::atomic<std::uint64_t>& owner() const noexcept { return word_; }
  const char* name() const noexcept { return name_.empty() ? nullptr : name_.c_str(); }
  const char* type() const noexcept { return type_; }
  /// Throws Error if the calling thread does not hold the lock.
  ThreadRecord& check_owner(const char* operation) const;

 private:
  friend struct HoldCounts;  // of a test, which cannot lock so often

  // The word is the owner's id, so that one operation takes the lock and names who has it; with the flag that
  // Blocker::owner leaves out of account if somebody waits.
  static constexpr std::uint64_t kFree = 0, kContended = kOwnerFlag;
  static constexpr int kPatience = 3;  // tries of the first in line that may fail before others stand back

  // What a spinning thread waits between two looks, each of which takes the lock's cache line from the owner:
  // doubling, but long at once if the lock passed several times since the last look. Such a lock is left to
  // those who have it, else it would change processors at every release and be several times slower.
  static constexpr int kMostPauses = 32, kStandBackPauses = 192;
  // All of them together: about what a park and a wake-up cost, for a virtual thread two switches and their
  // queues.
  static constexpr int kSpinPauses = 800, kVirtualSpinPauses = 50;

  // What lock() and unlock() do when it is not just one thread that comes and goes: apart, so that the usual
  // way saves no registers.
  [[gnu::noinline]] WaitOutcome lock_slowly(std::uintptr_t stack_pointer, Deadline deadline,
                                            Interruptible interruptible);
  [[gnu::noinline]] void unlock_slowly();
  void hold_again();
  std::uint64_t owner_id() const noexcept { return word_.load(std::memory_order_relaxed) & ~kContended; }
  bool take(std::uint64_t as) noexcept;
  bool take_by_spinning(const ThreadRecord& self, std::uint64_t as) noexcept;
  bool goes_behind() const noexcept;
  /// `is_queued`: somebody has put the thread into the queue.
  WaitOutcome lock_contended(const ThreadRecord& self, Deadline deadline, Interruptible interruptible,
                             bool is_queued = false) noexcept;
  void took(ThreadRecord& self, std::uintptr_t stack_pointer) noexcept;
  void release(std::uint64_t owner) noexcept;
  [[gnu::noinline]] void release_contended() noexcept;
  void release_notified() noexcept;

  std::atomic<std::uint64_t> word_{kFree};
  std::atomic<std::uint32_t> turns_{0};  // how often it was taken; written by the owner
  std::uint32_t more_holds_ = 0;         // beyond the first; the owner's
  std::atomic<bool> starving_{
      false};  // the longest waiting thread was passed too often: nobody goes before it
  bool monitor_;
  bool fair_;
  ConditionList notified_;  // to be woken when the lock is free; the owner's
  WaitQueue queue_;
  const char* type_;
  std::string name_;
};

}  // namespace creel::detail
