#include "shared_condition.hpp"

#include "sync_point.hpp"
#include "thread_record.hpp"

#include <creel/runtime/lock_support.hpp>

#include <algorithm>
#include <mutex>

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kGenerationShift = 32;
constexpr std::uint64_t kCountMask = (std::uint64_t{1} << kGenerationShift) - 1;

}  // namespace

SharedCondition::SharedCondition(SharedLock& lock, SharedConditionState& state, const void* object,
                                 const char* type, std::string name, WaitKind kind)
    : lock_(lock),
      presence_(lock.presence()),
      state_(state),
      name_(std::move(name)),
      blocker_{object, type, name_.c_str(), nullptr, kind} {
  lock.add(*this);
}

bool SharedCondition::may_go(std::uint64_t ticket) const noexcept {
  return ticket < state_.all_limit.load(kRelaxed) ||
         (ticket < state_.limit.load(kRelaxed) && state_.permits.load(kRelaxed) > 0);
}

// With the lock held.
bool SharedCondition::claim(std::uint64_t ticket) noexcept {
  if (!may_go(ticket)) return false;
  if (ticket >= state_.all_limit.load(kRelaxed))
    state_.permits.store(state_.permits.load(kRelaxed) - 1, kRelaxed);
  return true;
}

WaitOutcome SharedCondition::wait(Deadline deadline) {
  ThreadRecord& self = lock_.check_owner("wait");
  if (self.take_interrupt()) return WaitOutcome::Interrupted;
  ConditionNode& node = self.condition_node;
  const std::uint64_t ticket = state_.next_ticket.load(kRelaxed);
  state_.next_ticket.store(ticket + 1, kRelaxed);
  change_waiters(1);
  {
    const std::lock_guard guard{list_lock_};
    list_.append(node);
  }
  presence_.begin_wait();
  WaitOutcome outcome = WaitOutcome::Met;
  for (;;) {
    const SharedLock::Hold hold = lock_.give_up(self);
    outcome = park_until_notified(self, ticket, deadline);
    {
      const std::lock_guard guard{list_lock_};
      list_.remove(node);
    }
    lock_.take_again(self, hold);
    if (claim(ticket)) {
      outcome = WaitOutcome::Met;  // a notification that came first must not be lost
      break;
    }
    if (outcome != WaitOutcome::Met) break;
    prepend(node);  // another process's thread was faster
  }
  presence_.end_wait();
  change_waiters(-1);
  if (const std::uint64_t permits = state_.permits.load(kRelaxed); permits > 0) {
    state_.permits.store(std::min(permits, count_waiters()), kRelaxed);  // for those who died before
  }
  if (outcome == WaitOutcome::Interrupted) self.take_interrupt();
  return outcome;
}

WaitOutcome SharedCondition::park_until_notified(const ThreadRecord& self, std::uint64_t ticket,
                                                 Deadline deadline) noexcept {
  for (;;) {
    sync_point();
    if (may_go(ticket)) return WaitOutcome::Met;
    if (self.interrupted.load(kRelaxed) != 0) return WaitOutcome::Interrupted;
    if (deadline.expired()) return WaitOutcome::TimedOut;
    LockSupport::park(blocker_, deadline);
  }
}

void SharedCondition::notify_one() {
  lock_.check_owner("notify");
  const std::uint64_t waiters = count_waiters();
  state_.permits.store(std::min(state_.permits.load(kRelaxed) + 1, waiters), kRelaxed);
  state_.limit.store(state_.next_ticket.load(kRelaxed), kRelaxed);
  if (waiters > 0 && pending_ == Pending::None) pending_ = Pending::Some;
}

void SharedCondition::notify_all() {
  lock_.check_owner("notify");
  state_.all_limit.store(state_.next_ticket.load(kRelaxed), kRelaxed);
  state_.permits.store(0, kRelaxed);
  if (!state_.waiting.empty()) pending_ = Pending::All;
}

// One process for each permit is enough: all who waited when it was given may use it.
void SharedCondition::ring(Pending pending) noexcept {
  if (pending == Pending::None) return;
  std::uint64_t left = pending == Pending::All ? kSharedSlots : state_.permits.load(kRelaxed);
  const unsigned own = presence_.slot();
  unsigned slot = own;
  for (unsigned looked = 0; left > 0 && looked < kSharedSlots; ++looked) {
    const auto next = state_.waiting.next_after(slot);
    if (!next) return;
    slot = *next;
    if (slot == own) {
      deliver();
    } else if (presence_.is_occupied(slot)) {
      presence_.ring(slot);
    } else {
      continue;
    }
    --left;
    if (slot == own) return;  // once around
  }
}

bool SharedCondition::look() noexcept {
  {
    const std::lock_guard guard{list_lock_};
    if (list_.head == nullptr) return false;
    if (state_.permits.load(kRelaxed) == 0 && state_.all_limit.load(kRelaxed) <= all_seen_) return true;
  }
  deliver();
  return false;
}

// Wakes as many as there are permits. If all are for others' tickets, they park again.
void SharedCondition::deliver() noexcept {
  const std::lock_guard guard{list_lock_};
  const std::uint64_t all_limit = state_.all_limit.load(kRelaxed);
  const bool everyone = all_limit > all_seen_;
  all_seen_ = all_limit;
  std::uint64_t left = state_.permits.load(kRelaxed);
  for (ConditionNode* node = list_.head; node != nullptr && (everyone || left-- > 0); node = node->next)
    LockSupport::unpark(*node->thread);  // it cannot leave while we hold the list's lock
}

// Those in the list who may use a permit stand in front: tickets are given in the order of the list, and who
// comes back here was below the limit before.
void SharedCondition::prepend(ConditionNode& node) noexcept {
  const std::lock_guard guard{list_lock_};
  node.previous = nullptr;
  node.next = list_.head;
  (list_.head != nullptr ? list_.head->previous : list_.tail) = &node;
  list_.head = &node;
}

// With the lock held, as what follows.
void SharedCondition::change_waiters(std::int64_t by) noexcept {
  std::atomic<std::uint64_t>& entry = state_.waiters[presence_.slot()];
  const std::uint64_t seen = entry.load(kRelaxed);
  const bool ours = seen >> kGenerationShift == presence_.generation();  // else of who had the slot before
  const std::uint64_t count = (ours ? seen & kCountMask : 0) + static_cast<std::uint64_t>(by);
  entry.store(std::uint64_t{presence_.generation()} << kGenerationShift | count, kRelaxed);
  if (count > 0) {
    state_.waiting.add(presence_.slot());
  } else {
    state_.waiting.remove(presence_.slot());
  }
}

// Forgets those of processes that died.
std::uint64_t SharedCondition::count_waiters() noexcept {
  std::uint64_t count = 0;
  for (auto slot = state_.waiting.next(0); slot; slot = state_.waiting.next(*slot + 1)) {
    const std::uint64_t entry = state_.waiters[*slot].load(kRelaxed);
    if (presence_.is_alive(*slot, static_cast<std::uint16_t>(entry >> kGenerationShift))) {
      count += entry & kCountMask;
    } else {
      state_.waiting.remove(*slot);
    }
  }
  return count;
}

}  // namespace creel::detail
