#include "condition_wait.hpp"
#include "spin_wait.hpp"
#include "sync_point.hpp"
#include "thread_record.hpp"

#include <creel/runtime/detail/lock_core.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

namespace creel::detail {

void ConditionList::append(ConditionNode& node) noexcept {
  node.next = nullptr;
  node.previous = tail;
  (tail != nullptr ? tail->next : head) = &node;
  tail = &node;
}

void ConditionList::remove(ConditionNode& node) noexcept {
  (node.previous != nullptr ? node.previous->next : head) = node.next;
  (node.next != nullptr ? node.next->previous : tail) = node.previous;
}

LockCore::~LockCore() { CREEL_ASSERT(queue_.empty(), "a lock was destroyed while threads wait for it"); }

inline bool LockCore::take(std::uint64_t as) noexcept {
  sync_point();
  std::uint64_t free = kFree;
  // acquire: what the last owner did happens before.
  return word_.load(std::memory_order_relaxed) == kFree &&
         word_.compare_exchange_strong(free, as, std::memory_order_acquire, std::memory_order_relaxed);
}

bool LockCore::take_by_spinning(const ThreadRecord& self, std::uint64_t as) noexcept {
  if (!has_several_processors()) return false;  // the owner could not go on while we spin
  std::uint32_t turns = turns_.load(std::memory_order_relaxed);
  int budget = self.is_virtual ? kVirtualSpinPauses : kSpinPauses;
  for (int pauses = 1; budget > 0; pauses = std::min(pauses, budget)) {
    budget -= pauses;
    for (int i = 0; i < pauses; ++i) cpu_relax();
    if (take(as)) return true;
    const std::uint32_t now = turns_.load(std::memory_order_relaxed);
    pauses = now - turns > 1 ? kStandBackPauses : std::min(2 * pauses, kMostPauses);
    turns = now;
  }
  return false;
}

inline bool LockCore::goes_behind() const noexcept {
  return (fair_ || starving_.load(std::memory_order_relaxed)) && !queue_.empty();
}

inline void LockCore::took(ThreadRecord& self, std::uintptr_t stack_pointer) noexcept {
  turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  self.push_held(this, type_, name(), monitor_, stack_pointer);
}

// A loop that locks and never unlocks.
void LockCore::hold_again() {
  if (more_holds_ == kMostHolds - 1) [[unlikely]] {
    throw Error(std::string(type_) + (name_.empty() ? "" : " \"" + name_ + "\"") + ": held " +
                std::to_string(kMostHolds) + " times by thread \"" + current_record().name() +
                "\", the most there may be");
  }
  ++more_holds_;
}

WaitOutcome LockCore::lock(std::uintptr_t stack_pointer, Deadline deadline, Interruptible interruptible) {
  ThreadRecord* const self = current_record_or_null();
  if (self == nullptr || goes_behind() ||
      (interruptible == Interruptible::Yes && self->interrupted.load(std::memory_order_relaxed) != 0) ||
      !take(self->id.load(std::memory_order_relaxed))) [[unlikely]]
    return lock_slowly(stack_pointer, deadline, interruptible);
  took(*self, stack_pointer);
  return WaitOutcome::Met;
}

WaitOutcome LockCore::lock_slowly(std::uintptr_t stack_pointer, Deadline deadline,
                                  Interruptible interruptible) {
  ThreadRecord& self = current_record();
  if (interruptible == Interruptible::Yes && self.take_interrupt()) return WaitOutcome::Interrupted;
  const std::uint64_t id = self.id.load(std::memory_order_relaxed);
  if (owner_id() == id) {  // only this thread can have written that
    hold_again();
    return WaitOutcome::Met;
  }
  if (goes_behind() || !take(id)) {
    const WaitOutcome outcome = lock_contended(self, deadline, interruptible);
    if (outcome != WaitOutcome::Met) return outcome;
  }
  took(self, stack_pointer);
  return WaitOutcome::Met;
}

WaitOutcome LockCore::lock_contended(const ThreadRecord& self, Deadline deadline, Interruptible interruptible,
                                     bool is_queued) noexcept {
  const std::uint64_t id = self.id.load(std::memory_order_relaxed);
  if (!is_queued && queue_.empty() && take_by_spinning(self, id)) return WaitOutcome::Met;
  int tries = 0;
  const Blocker blocker{this, type_, name(), &word_, monitor_ ? WaitKind::MonitorEnter : WaitKind::Parking};
  const auto take_in_turn = [&] {
    if (++tries > kPatience) starving_.store(true, std::memory_order_relaxed);
    // Taken as contended, since others may stand behind; the release then looks.
    if (take_by_spinning(self, id | kContended)) return true;
    for (std::uint64_t seen = word_.load(std::memory_order_relaxed); (seen & kContended) == 0;) {
      if (word_.compare_exchange_weak(seen, (seen == kFree ? id : seen) | kContended,
                                      std::memory_order_acquire, std::memory_order_relaxed)) {
        return seen == kFree;
      }
    }
    return false;
  };
  const WaitOutcome outcome =
      is_queued ? queue_.await_queued(blocker, WaitQueue::Order::Head, take_in_turn)
                : queue_.await(blocker, deadline, interruptible, WaitQueue::Order::Head, take_in_turn);
  if (tries > kPatience) starving_.store(false, std::memory_order_relaxed);
  return outcome;
}

bool LockCore::try_lock(std::uintptr_t stack_pointer) {
  ThreadRecord& self = current_record();
  const std::uint64_t id = self.id.load(std::memory_order_relaxed);
  if (!take(id)) {
    if (owner_id() != id) return false;
    hold_again();
    return true;
  }
  took(self, stack_pointer);
  return true;
}

void LockCore::unlock() {
  ThreadRecord* const self = current_record_or_null();
  std::uint64_t owner = self != nullptr ? self->id.load(std::memory_order_relaxed) : kFree;
  if (self == nullptr || word_.load(std::memory_order_relaxed) != owner || more_holds_ != 0 ||
      notified_.head != nullptr || !self->pop_last_held(this)) [[unlikely]]
    return unlock_slowly();
  sync_point();
  if (!word_.compare_exchange_strong(owner, kFree, std::memory_order_release, std::memory_order_relaxed))
      [[unlikely]]
    release_contended();
}

void LockCore::unlock_slowly() {
  ThreadRecord& self = check_owner("unlock");
  if (more_holds_ > 0) {
    --more_holds_;
    return;
  }
  self.pop_held(this);
  release(self.id.load(std::memory_order_relaxed));
}

// Nothing of ours is touched once the next owner could be in, since it may destroy the lock: see WaitQueue.
void LockCore::release(std::uint64_t owner) noexcept {
  sync_point();
  if (notified_.head != nullptr) return release_notified();
  if (!word_.compare_exchange_strong(owner, kFree, std::memory_order_release, std::memory_order_relaxed))
    release_contended();
}

void LockCore::release_contended() noexcept {
  queue_.change_and_wake_one([this](bool) { word_.store(kFree, std::memory_order_release); });
}

void LockCore::release_notified() noexcept {
  // A few are kept alive until the lock is free, since they may then take it, leave and end before we wake
  // them; of a crowd, those beyond are woken while the lock is still held, where none of them can leave.
  std::array<std::shared_ptr<ThreadRecord>, 8> threads;
  std::size_t count = 0;
  for (ConditionNode* node = notified_.head; node != nullptr;) {
    ThreadRecord& thread = *node->thread;
    node = node->next;
    if (count < threads.size()) {
      threads[count++] = thread.shared_from_this();
    } else {
      LockSupport::unpark(thread);
    }
  }
  notified_ = {};
  queue_.change_and_wake_one([this](bool) { word_.store(kFree, std::memory_order_release); });
  for (std::size_t i = 0; i < count; ++i) LockSupport::unpark(*threads[i]);
}

WaitOutcome LockCore::wait(ConditionList& list, const Blocker& blocker, Deadline deadline,
                           Interruptible interruptible) {
  ThreadRecord& self = check_owner(monitor_ ? "wait" : "await");
  if (interruptible == Interruptible::Yes && self.take_interrupt()) return WaitOutcome::Interrupted;
  ConditionWait waiting{self, list};
  const std::uint64_t id = self.id.load(std::memory_order_relaxed);
  const std::uint32_t more_holds = std::exchange(more_holds_, 0);
  const std::uintptr_t stack_pointer = self.pop_held(this);
  release(id);
  waiting.await(blocker, deadline, interruptible);
  sync_point();
  const bool is_queued = waiting.is_queued();
  if (is_queued || goes_behind() || !take(id))
    lock_contended(self, Deadline::never(), Interruptible::No, is_queued);
  more_holds_ = more_holds;
  took(self, stack_pointer);
  return waiting.finish();
}

void LockCore::notify_one(ConditionList& list) {
  check_owner(monitor_ ? "notify" : "signal");
  ConditionNode* node = list.head;
  if (node == nullptr) return;
  list.remove(*node);
  notified_.append(*node);
  // Into the queue at once, where nobody can have his turn while we hold the lock: so that they take it in
  // the order in which they were notified, even one that wakes for no reason before we let it go.
  if (node->take(ConditionNode::Way::Queued)) queue_.append(*node->thread);
  sync_point();
  node->notified.store(true, std::memory_order_release);
}

void LockCore::notify_all(ConditionList& list) {
  check_owner(monitor_ ? "notify" : "signal");
  while (list.head != nullptr) notify_one(list);
}

bool LockCore::is_held_by_current_thread() const noexcept { return owner_id() == current_record().id; }

std::uint32_t LockCore::hold_count() const noexcept {
  return is_held_by_current_thread() ? more_holds_ + 1 : 0;
}

ThreadRecord& LockCore::check_owner(const char* operation) const {
  ThreadRecord& self = current_record();
  if (owner_id() != self.id) [[unlikely]] {
    throw Error(std::string(type_) + (name_.empty() ? "" : " \"" + name_ + "\"") + ": " + operation +
                " by thread \"" + self.name() + "\", which does not hold it");
  }
  return self;
}

}  // namespace creel::detail
