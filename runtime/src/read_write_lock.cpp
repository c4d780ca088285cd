#include "condition_wait.hpp"
#include "thread_record.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/read_write_lock.hpp>

#include <algorithm>

namespace creel {

using detail::ConditionList;
using detail::ReadHold;
using detail::ThreadRecord;
using detail::WaitQueue;

namespace {

constexpr const char* kReadType = "creel::ReentrantReadWriteLock.ReadLock";
constexpr const char* kWriteType = "creel::ReentrantReadWriteLock.WriteLock";

ReadHold* find_hold(const ThreadRecord& self, const void* lock) noexcept {
  if (self.own().read_holds == nullptr) return nullptr;
  const auto found = std::find_if(self.own().read_holds->begin(), self.own().read_holds->end(),
                                  [lock](const ReadHold& hold) { return hold.lock == lock; });
  return found != self.own().read_holds->end() ? &*found : nullptr;
}

}  // namespace

ReentrantReadWriteLock::ReentrantReadWriteLock(std::string name, Fairness fairness)
    : fair_(fairness == Fairness::Fair), name_(std::move(name)) {}

ReentrantReadWriteLock::~ReentrantReadWriteLock() {
  CREEL_ASSERT(queue_.empty(), "a lock was destroyed while threads wait for it");
}

std::string ReentrantReadWriteLock::described() const {
  return "creel::ReentrantReadWriteLock" + (name_.empty() ? std::string() : " \"" + name_ + "\"");
}

Blocker ReentrantReadWriteLock::blocker(bool reading) const noexcept {
  return {this, reading ? kReadType : kWriteType, name_.empty() ? nullptr : name_.c_str(),
          reading ? &read_gate_ : &write_gate_};
}

bool ReentrantReadWriteLock::writes(const ThreadRecord& self) const noexcept {
  return writer_.load(std::memory_order_relaxed) == self.id;  // only this thread can have written that
}

ThreadRecord& ReentrantReadWriteLock::check_writer(const char* operation) const {
  ThreadRecord& self = detail::current_record();
  if (!writes(self)) [[unlikely]] {
    throw Error(described() + ": " + operation + " by thread \"" + self.name() + "\", which does not write");
  }
  return self;
}

void ReentrantReadWriteLock::throw_too_many(std::uint32_t holds) const {
  throw Error(described() + ": held " + std::to_string(holds) + " times by thread \"" +
              Thread::current_name() + "\", the most there may be");
}

// ---- taking it ----

// One hold for reading more, unless a bit of `closed` is set.
bool ReentrantReadWriteLock::take_read(std::uint64_t closed) noexcept {
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  while ((seen & closed) == 0) {
    // acquire: what the last writer did happens before.
    if (word_.compare_exchange_weak(seen, seen + kReader, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

bool ReentrantReadWriteLock::take_write() noexcept {
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  while (seen < kReader && (seen & kWriter) == 0) {
    // acquire: what the last writer and all readers did happens before.
    if (word_.compare_exchange_weak(seen, seen | kWriter, std::memory_order_acquire,
                                    std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

detail::WaitOutcome ReentrantReadWriteLock::acquire_read(std::uintptr_t stack_pointer, Deadline deadline,
                                                         Interruptible interruptible) {
  ThreadRecord& self = detail::current_record();
  if (interruptible == Interruptible::Yes && self.take_interrupt()) return WaitOutcome::Interrupted;
  if (writes(self) || find_hold(self, this) != nullptr) {
    take_read(0);  // whoever is inside may not be made to wait for a writer that waits for it
  } else if ((fair_ && !queue_.empty()) || !take_read(kWriter | kWriterFirst)) {
    const WaitOutcome outcome = wait_to_read(deadline, interruptible);
    if (outcome != WaitOutcome::Met) return outcome;
  }
  took_read(self, stack_pointer);
  return WaitOutcome::Met;
}

detail::WaitOutcome ReentrantReadWriteLock::wait_to_read(Deadline deadline,
                                                         Interruptible interruptible) noexcept {
  const WaitOutcome outcome =
      queue_.await(blocker(true), deadline, interruptible, WaitQueue::Order::Head, [this] {
        for (std::uint64_t seen = word_.load(std::memory_order_relaxed);;) {
          const bool open = (seen & kWriter) == 0;
          const std::uint64_t next = (open ? seen + kReader : seen) | kWaiters;  // others may stand behind
          if (next == seen) return false;
          if (word_.compare_exchange_weak(seen, next, std::memory_order_acquire, std::memory_order_relaxed))
            return open;
        }
      });
  if (outcome == WaitOutcome::Met) queue_.wake_one();  // the next in line may be a reader too
  return outcome;
}

detail::WaitOutcome ReentrantReadWriteLock::acquire_write(std::uintptr_t stack_pointer, Deadline deadline,
                                                          Interruptible interruptible) {
  ThreadRecord& self = detail::current_record();
  if (interruptible == Interruptible::Yes && self.take_interrupt()) return WaitOutcome::Interrupted;
  if (writes(self)) {
    if (write_holds_ == detail::LockCore::kMostHolds) [[unlikely]]
      throw_too_many(write_holds_);
    ++write_holds_;
    return WaitOutcome::Met;
  }
  if (deadline.is_never() && find_hold(self, this) != nullptr) [[unlikely]] {
    throw Error(described() + ": thread \"" + self.name() +
                "\" reads and wants to write, and would wait for itself; unlock the read first");
  }
  if ((fair_ && !queue_.empty()) || !take_write()) {
    const WaitOutcome outcome = wait_to_write(self, deadline, interruptible);
    if (outcome != WaitOutcome::Met) return outcome;
  }
  took_write(self, 1, stack_pointer);
  return WaitOutcome::Met;
}

detail::WaitOutcome ReentrantReadWriteLock::wait_to_write(ThreadRecord& self, Deadline deadline,
                                                          Interruptible interruptible,
                                                          bool is_queued) noexcept {
  const auto take_in_turn = [this, &self] {
    for (std::uint64_t seen = word_.load(std::memory_order_relaxed);;) {
      const bool free = seen < kReader && (seen & kWriter) == 0;
      const std::uint64_t next =
          free ? (seen & ~kWriterFirst) | kWriter | kWaiters : seen | kWaiters | kWriterFirst;
      if (!free && writer_.load(std::memory_order_relaxed) == 0) {
        read_gate_.store(self.id, std::memory_order_relaxed);  // readers now wait for us
      }
      if (next == seen) return false;
      if (word_.compare_exchange_weak(seen, next, std::memory_order_acquire, std::memory_order_relaxed))
        return free;
    }
  };
  const WaitOutcome outcome =
      is_queued ? queue_.await_queued(blocker(false), WaitQueue::Order::Head, take_in_turn)
                : queue_.await(blocker(false), deadline, interruptible, WaitQueue::Order::Head, take_in_turn);
  if (outcome != WaitOutcome::Met) {
    std::uint64_t own = self.id;
    read_gate_.compare_exchange_strong(own, 0, std::memory_order_relaxed);
    // A writer that is first by now sets the bit again.
    queue_.change_and_wake_one([this](bool) { word_.fetch_and(~kWriterFirst, std::memory_order_relaxed); });
  }
  return outcome;
}

bool ReentrantReadWriteLock::try_read(std::uintptr_t stack_pointer) {
  ThreadRecord& self = detail::current_record();
  if (!take_read(writes(self) ? 0 : kWriter)) return false;
  took_read(self, stack_pointer);
  return true;
}

bool ReentrantReadWriteLock::try_write(std::uintptr_t stack_pointer) {
  ThreadRecord& self = detail::current_record();
  if (writes(self)) {
    if (write_holds_ == detail::LockCore::kMostHolds) [[unlikely]]
      throw_too_many(write_holds_);
    ++write_holds_;
    return true;
  }
  if (!take_write()) return false;
  took_write(self, 1, stack_pointer);
  return true;
}

// ---- what is known of its holders ----

void ReentrantReadWriteLock::took_read(ThreadRecord& self, std::uintptr_t stack_pointer) {
  if (ReadHold* const hold = find_hold(self, this)) {
    if (hold->count == detail::LockCore::kMostHolds) [[unlikely]] {
      word_.fetch_sub(kReader, std::memory_order_relaxed);  // nobody can go on by that: we still read
      throw_too_many(hold->count);
    }
    ++hold->count;
    return;
  }
  if (self.own().read_holds == nullptr) self.own().read_holds = std::make_unique<std::vector<ReadHold>>();
  self.own().read_holds->push_back({this, 1});
  self.push_held(this, kReadType, name_.empty() ? nullptr : name_.c_str(), false, stack_pointer);
  std::atomic<std::uint64_t>& seat = readers_[self.id % readers_.size()];
  if (seat.load(std::memory_order_relaxed) == 0) seat.store(self.id, std::memory_order_seq_cst);
  if (write_gate_.load(std::memory_order_relaxed) == 0) write_gate_.store(self.id, std::memory_order_relaxed);
}

// seq_cst here and in took_read: either the reader named here sees that it is, or we see that it has left.
void ReentrantReadWriteLock::name_another_reader(std::uint64_t leaving) noexcept {
  std::uint64_t expected = leaving;
  readers_[leaving % readers_.size()].compare_exchange_strong(expected, 0, std::memory_order_seq_cst);
  if (write_gate_.load(std::memory_order_seq_cst) != leaving) return;
  for (const std::atomic<std::uint64_t>& seat : readers_) {
    const std::uint64_t other = seat.load(std::memory_order_relaxed);
    if (other == 0) continue;
    write_gate_.store(other, std::memory_order_seq_cst);
    if (seat.load(std::memory_order_seq_cst) == other) return;
  }
  write_gate_.store(0, std::memory_order_relaxed);
}

void ReentrantReadWriteLock::took_write(ThreadRecord& self, std::uint32_t holds,
                                        std::uintptr_t stack_pointer) noexcept {
  writer_.store(self.id, std::memory_order_relaxed);
  read_gate_.store(self.id, std::memory_order_relaxed);
  write_gate_.store(self.id, std::memory_order_relaxed);
  write_holds_ = holds;
  self.push_held(this, kWriteType, name_.empty() ? nullptr : name_.c_str(), false, stack_pointer);
}

// ---- giving it back ----

// Nothing of ours is touched once the next owner could be in, since it may destroy the lock: see WaitQueue.
void ReentrantReadWriteLock::give_back(std::uint64_t what) noexcept {
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  for (;;) {
    const bool last = seen - what < kReader || what == kWriter;
    if (last && (seen & kWaiters) != 0) break;
    if (word_.compare_exchange_weak(seen, seen - what, std::memory_order_release, std::memory_order_relaxed))
      return;
  }
  queue_.change_and_wake_one([&](bool no_waiters) {
    // Nobody can enter the queue meanwhile, so that the flags are exact.
    const std::uint64_t flags = no_waiters ? kWaiters | kWriterFirst : 0;
    while (!word_.compare_exchange_weak(seen, (seen - what) & ~flags, std::memory_order_release,
                                        std::memory_order_relaxed)) {
    }
  });
}

void ReentrantReadWriteLock::release_read() {
  ThreadRecord& self = detail::current_record();
  ReadHold* const hold = find_hold(self, this);
  if (hold == nullptr) [[unlikely]] {
    throw Error(described() + ": unlock of a read by thread \"" + self.name() + "\", which does not read");
  }
  if (--hold->count == 0) {
    *hold = self.own().read_holds->back();
    self.own().read_holds->pop_back();
    self.pop_held(this);  // the write hold, if any, was pushed before
    if (!writes(self)) name_another_reader(self.id);
  }
  give_back(kReader);
}

void ReentrantReadWriteLock::release_write() {
  ThreadRecord& self = check_writer("unlock of a write");
  if (--write_holds_ > 0) return;
  give_up_write(self);
}

// Returns the stack pointer of the hold.
std::uintptr_t ReentrantReadWriteLock::give_up_write(ThreadRecord& self) noexcept {
  const bool reads = find_hold(self, this) != nullptr;
  const std::uintptr_t last = self.pop_held(this);
  const std::uintptr_t stack_pointer = reads ? self.pop_held(this) : last;
  if (reads) {  // that was the read, which stays
    self.push_held(this, kReadType, name_.empty() ? nullptr : name_.c_str(), false, last);
  }
  writer_.store(0, std::memory_order_relaxed);
  read_gate_.store(0, std::memory_order_relaxed);
  if (!reads) write_gate_.store(0, std::memory_order_relaxed);
  give_back(kWriter);
  return stack_pointer;
}

// ---- conditions of the write side ----

detail::WaitOutcome ReentrantReadWriteLock::wait(ConditionList& list, const Blocker& blocker,
                                                 Deadline deadline, Interruptible interruptible) {
  ThreadRecord& self = check_writer("await");
  if (find_hold(self, this) != nullptr) {
    throw Error(described() + ": thread \"" + self.name() +
                "\" also reads, so that nobody could come in to signal; unlock the read before it waits");
  }
  if (interruptible == Interruptible::Yes && self.take_interrupt()) return WaitOutcome::Interrupted;
  detail::ConditionWait waiting{self, list};
  const std::uint32_t holds = write_holds_;
  const std::uintptr_t stack_pointer = give_up_write(self);
  waiting.await(blocker, deadline, interruptible);
  const bool is_queued = waiting.is_queued();
  if (is_queued || (fair_ && !queue_.empty()) || !take_write())
    wait_to_write(self, Deadline::never(), Interruptible::No, is_queued);
  took_write(self, holds, stack_pointer);
  return waiting.finish();
}

void ReentrantReadWriteLock::notify_one(ConditionList& list) {
  check_writer("signal");
  detail::ConditionNode* const node = list.head;
  if (node == nullptr) return;
  list.remove(*node);
  ThreadRecord& thread = *node->thread;  // it cannot leave while we hold the lock
  node->notified.store(true, std::memory_order_release);
  if (node->take(detail::ConditionNode::Way::Queued)) queue_.append(thread);  // behind those notified before
  LockSupport::unpark(thread);
}

struct ReadWriteConditions {
  static constexpr detail::ConditionLock::Operations kOperations{
      [](void* lock, ConditionList& list, const Blocker& blocker, Deadline deadline,
         detail::Interruptible interruptible) {
        return static_cast<ReentrantReadWriteLock*>(lock)->wait(list, blocker, deadline, interruptible);
      },
      [](void* lock, ConditionList& list) { static_cast<ReentrantReadWriteLock*>(lock)->notify_one(list); },
      [](const void* lock, const char* operation) {
        static_cast<const ReentrantReadWriteLock*>(lock)->check_writer(operation);
      }};
};

ReentrantReadWriteLock::WriteLock::operator detail::ConditionLock() noexcept {
  return {&lock_, &ReadWriteConditions::kOperations};
}

Condition ReentrantReadWriteLock::WriteLock::condition(std::string name) {
  return Condition(detail::ConditionLock(*this), std::move(name));
}

// ---- looks from outside ----

bool ReentrantReadWriteLock::is_write_locked_by_current_thread() const noexcept {
  return writes(detail::current_record());
}
std::uint32_t ReentrantReadWriteLock::read_hold_count() const noexcept {
  const ReadHold* const hold = find_hold(detail::current_record(), this);
  return hold != nullptr ? hold->count : 0;
}
std::uint32_t ReentrantReadWriteLock::write_hold_count() const noexcept {
  return is_write_locked_by_current_thread() ? write_holds_ : 0;
}
bool ReentrantReadWriteLock::has_queued_thread(const Thread& thread) const {
  return queue_.contains(thread.record().get());
}
std::uint32_t ReentrantReadWriteLock::wait_queue_length(const Condition& condition) const {
  return condition.waiters_of(this);
}
std::string ReentrantReadWriteLock::to_string() const {
  return described() + (is_write_locked() ? " [written, " : " [not written, ") +
         std::to_string(read_lock_count()) + " reads]";
}

}  // namespace creel
