#include "shared_lock.hpp"

#include "shared_condition.hpp"
#include "spin_wait.hpp"
#include "sync_point.hpp"
#include "thread_record.hpp"
#include "wait_snapshot.hpp"

#include <creel/runtime/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// The holder's words about itself, if they are about `owner`.
std::optional<SharedOwner> describe(const SharedHolder& holder, std::uint64_t owner) {
  if (holder.word.load(std::memory_order_acquire) != owner) return std::nullopt;
  SharedOwner described;
  std::array<char, SharedHolder::kNameBytes> name{};
  for (std::size_t i = 0; i < holder.name.size(); ++i) {
    const std::uint64_t word = holder.name[i].load(kRelaxed);
    std::memcpy(name.data() + sizeof word * i, &word, sizeof word);
  }
  described.pid = static_cast<pid_t>(holder.pid.load(kRelaxed));
  described.thread_id = OwnerWord::thread(owner);
  described.thread_name.assign(name.data(), ::strnlen(name.data(), name.size()));
  std::atomic_thread_fence(std::memory_order_acquire);  // what was read comes before this look
  if (holder.word.load(kRelaxed) != owner) return std::nullopt;
  return described;
}

}  // namespace

std::uint64_t SharedLock::word_of(const ThreadRecord& self) const noexcept {
  return OwnerWord::of(presence_, self.id.load(kRelaxed));
}

bool SharedLock::is_held_by(const ThreadRecord& self) const noexcept {
  // Only this thread can have written that.
  return OwnerWord::owner(state_.word.load(kRelaxed)) == word_of(self);
}

bool SharedLock::is_dead(std::uint64_t word) const noexcept {
  return OwnerWord::owner(word) != 0 &&
         !presence_.is_alive(OwnerWord::slot(word), OwnerWord::generation(word));
}

bool SharedLock::take(std::uint64_t mine) noexcept {
  sync_point();
  std::uint64_t seen = state_.word.load(kRelaxed);
  // acquire: what the last owner did happens before.
  return OwnerWord::owner(seen) == 0 &&
         state_.word.compare_exchange_strong(seen, mine | seen, std::memory_order_acquire, kRelaxed);
}

// Takes the lock if it is free or its owner dead; else sees to it that its release looks for us.
bool SharedLock::take_or_ask(std::uint64_t mine) noexcept {
  state_.asking.add(presence_.slot());
  for (std::uint64_t seen = state_.word.load();;) {
    sync_point();
    const bool dead = is_dead(seen);
    if (OwnerWord::owner(seen) == 0 || dead) {
      if (!state_.word.compare_exchange_strong(seen, mine | OwnerWord::kWaiters)) continue;
      if (dead) {
        note_death(OwnerWord::owner(seen));
      }
      // Who is behind us asks in our release, at the latest.
      if (queue_.size() <= 1) state_.asking.remove(presence_.slot());
      return true;
    }
    if ((seen & OwnerWord::kWaiters) != 0 ||
        state_.word.compare_exchange_strong(seen, seen | OwnerWord::kWaiters)) {
      return false;
    }
  }
}

WaitOutcome SharedLock::lock(std::uintptr_t stack_pointer, Deadline deadline,
                             Interruptible interruptible) noexcept {
  ThreadRecord& self = current_record();
  if (interruptible == Interruptible::Yes && self.take_interrupt()) return WaitOutcome::Interrupted;
  if (is_held_by(self)) {
    state_.holds.store(holds() + 1, kRelaxed);
    return WaitOutcome::Met;
  }
  if (!take(word_of(self))) {
    const WaitOutcome outcome = lock_contended(self, deadline, interruptible);
    if (outcome != WaitOutcome::Met) return outcome;
  }
  took(self, {1, stack_pointer});
  return WaitOutcome::Met;
}

WaitOutcome SharedLock::lock_contended(ThreadRecord& self, Deadline deadline,
                                       Interruptible interruptible) noexcept {
  const std::uint64_t mine = word_of(self);
  // To be woken by another process takes two switches, of its bell's listener and of us.
  if (!self.is_virtual && queue_.empty() && spin_until([&] { return take(mine); })) return WaitOutcome::Met;
  const Blocker blocker{&state_, type_, name(), &local_owner_, WaitKind::MonitorEnter};
  presence_.begin_wait();
  const WaitOutcome outcome = queue_.await(blocker, deadline, interruptible, WaitQueue::Order::Head,
                                           [&] { return take_or_ask(mine); });
  presence_.end_wait();
  return outcome;
}

bool SharedLock::try_lock(std::uintptr_t stack_pointer) noexcept {
  ThreadRecord& self = current_record();
  if (is_held_by(self)) {
    state_.holds.store(holds() + 1, kRelaxed);
    return true;
  }
  const std::uint64_t mine = word_of(self);
  if (!take(mine)) {
    if (!is_dead(state_.word.load()) || !take_or_ask(mine)) return false;
  }
  took(self, {1, stack_pointer});
  return true;
}

void SharedLock::took(ThreadRecord& self, Hold hold) noexcept {
  local_owner_.store(self.id.load(kRelaxed), kRelaxed);
  state_.holds.store(hold.holds, kRelaxed);
  const std::uint64_t mine = word_of(self);
  if (state_.holder.word.load(kRelaxed) != mine) sign(self, mine);
  self.push_held(&state_, type_, name(), true, hold.stack_pointer);
}

void SharedLock::sign(ThreadRecord& self, std::uint64_t mine) noexcept {
  SharedHolder& holder = state_.holder;
  holder.word.store(0, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);  // a reader of what follows sees the 0 above, or later
  std::array<std::uint64_t, SharedHolder::kNameBytes / 8> words{};
  const std::string name = self.name();
  std::memcpy(words.data(), name.data(), std::min(name.size(), SharedHolder::kNameBytes - 1));
  for (std::size_t i = 0; i < words.size(); ++i) holder.name[i].store(words[i], kRelaxed);
  holder.pid.store(::getpid(), kRelaxed);
  holder.word.store(mine, std::memory_order_release);
}

void SharedLock::unlock() {
  ThreadRecord& self = check_owner("unlock");
  if (const std::uint32_t count = holds(); count > 1) return state_.holds.store(count - 1, kRelaxed);
  self.pop_held(&state_);
  release(word_of(self));
}

SharedLock::Hold SharedLock::give_up(ThreadRecord& self) noexcept {
  const Hold hold{holds(), self.pop_held(&state_)};
  release(word_of(self));
  return hold;
}

void SharedLock::take_again(ThreadRecord& self, Hold hold) noexcept {
  if (!take(word_of(self))) lock_contended(self, Deadline::never(), Interruptible::No);
  took(self, hold);
}

void SharedLock::release(std::uint64_t mine) noexcept {
  std::array<SharedCondition::Pending, kConditions> pending{};
  for (std::size_t i = 0; i < kConditions && conditions_[i] != nullptr; ++i)
    pending[i] = conditions_[i]->take_pending();
  local_owner_.store(0, kRelaxed);
  sync_point();
  std::uint64_t seen = mine;
  if (!state_.word.compare_exchange_strong(seen, 0, std::memory_order_release, kRelaxed)) {
    // Those who came while their head was at it have not asked for themselves.
    if (!queue_.empty()) state_.asking.add(presence_.slot());
    state_.word.exchange(0);
    pass_on();
  }
  for (std::size_t i = 0; i < kConditions && conditions_[i] != nullptr; ++i) conditions_[i]->ring(pending[i]);
}

// Wakes the next process that asks, our own last, so that none can keep the lock to itself.
void SharedLock::pass_on() noexcept {
  const unsigned own = presence_.slot();
  for (unsigned tries = 0; tries < kSharedSlots; ++tries) {
    const auto slot = state_.asking.next_after(own);
    if (!slot) return;
    // Else somebody has just rung it, or nobody is there any more.
    if (!state_.asking.remove(*slot) || !presence_.is_occupied(*slot)) continue;
    if (!state_.asking.empty()) state_.word.fetch_or(OwnerWord::kWaiters);
    if (*slot == own) {
      queue_.wake_one();
    } else {
      presence_.ring(*slot);
    }
    return;
  }
}

void SharedLock::add(SharedCondition& condition) noexcept {
  *std::find(conditions_.begin(), conditions_.end(), nullptr) = &condition;
}

void SharedLock::look() noexcept {
  const std::uint64_t seen = state_.word.load();
  const bool is_free = OwnerWord::owner(seen) == 0;
  if (!queue_.empty()) {
    if (is_free || !state_.asking.contains(presence_.slot()) || is_dead(seen)) queue_.wake_one();
  } else if (is_free && !state_.asking.empty()) {
    pass_on();  // we were rung for a thread that has stopped waiting
  }
  bool notifiable = false;
  for (SharedCondition* condition : conditions_) notifiable |= condition != nullptr && condition->look();
  // The owner died: whoever takes over notifies all who wait, and nobody else may come along.
  if (notifiable && is_dead(seen) && try_lock(0)) unlock();
}

ThreadRecord& SharedLock::check_owner(const char* operation) const {
  ThreadRecord& self = current_record();
  if (!is_held_by(self)) [[unlikely]] {
    throw Error(std::string(type_) + " \"" + name_ + "\": " + operation + " by thread \"" + self.name() +
                "\", which does not hold it");
  }
  return self;
}

// By the new owner, before it signs.
void SharedLock::note_death(std::uint64_t owner) noexcept {
  const SharedHolder& holder = state_.holder;
  SharedHolder& died = state_.died;
  const bool signed_it = holder.word.load(kRelaxed) == owner;
  died.pid.store(signed_it ? holder.pid.load(kRelaxed) : 0, kRelaxed);
  for (std::size_t i = 0; i < died.name.size(); ++i)
    died.name[i].store(signed_it ? holder.name[i].load(kRelaxed) : 0, kRelaxed);
  died.word.store(owner, kRelaxed);
  state_.doubt.store(1, kRelaxed);
  // It may have been about to.
  for (SharedCondition* condition : conditions_) {
    if (condition != nullptr) condition->notify_all();
  }
}

SharedOwner SharedLock::died() const {
  return describe(state_.died, state_.died.word.load(kRelaxed)).value_or(SharedOwner{});
}

std::optional<SharedOwner> SharedLock::owner() const {
  for (;;) {
    const std::uint64_t owner = OwnerWord::owner(state_.word.load());
    if (owner == 0) return std::nullopt;
    auto described = describe(state_.holder, owner);
    if (OwnerWord::owner(state_.word.load()) != owner) continue;
    if (!described) described = SharedOwner{0, OwnerWord::thread(owner), {}};  // it is about to sign
    described->is_alive = !is_dead(owner);
    return described;
  }
}

std::optional<SharedOwner> read_shared_owner(const char* type, const void* object) {
  if (type != kSharedMonitorType && type != kSharedRingType) return std::nullopt;
  const auto& state = *static_cast<const SharedLockState*>(object);
  struct Copy {
    std::uint64_t word = 0;
    SharedHolder holder;
  };
  std::array<Copy, 2> copies;
  for (Copy& copy : copies) {
    if (!safe_read(&state.word, &copy.word, sizeof copy.word) ||
        !safe_read(&state.holder, static_cast<void*>(&copy.holder), sizeof copy.holder)) {
      return std::nullopt;
    }
  }
  // Two equal readings of the owner, and what it has signed.
  const std::uint64_t owner = OwnerWord::owner(copies[0].word);
  if (owner == 0 || owner != OwnerWord::owner(copies[1].word) || !describe(copies[1].holder, owner)) {
    return std::nullopt;
  }
  return describe(copies[0].holder, owner);
}

}  // namespace creel::detail
