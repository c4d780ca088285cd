#include "thread_record.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>

namespace creel {

using detail::ConditionList;
using detail::Interruptible;
using detail::LockCore;
using detail::WaitOutcome;

namespace {

constexpr detail::ConditionLock::Operations kOfLockCore{
    [](void* lock, ConditionList& list, const Blocker& blocker, Deadline deadline,
       Interruptible interruptible) {
      return static_cast<LockCore*>(lock)->wait(list, blocker, deadline, interruptible);
    },
    [](void* lock, ConditionList& list) { static_cast<LockCore*>(lock)->notify_one(list); },
    [](const void* lock, const char* operation) {
      static_cast<const LockCore*>(lock)->check_owner(operation);
    }};

}  // namespace

Condition::Condition(ReentrantLock& lock, const char* type, std::string name, const void* owner,
                     const WakerSet* wakers)
    : lock_{&lock.core_, &kOfLockCore}, type_(type), owner_(owner), wakers_(wakers), name_(std::move(name)) {}

WaitOutcome Condition::wait(Deadline deadline, Interruptible interruptible) {
  const Blocker blocker{.object = owner_ != nullptr ? owner_ : this,
                        .type = type_,
                        .name = name_.empty() ? nullptr : name_.c_str(),
                        .wakers = wakers_};
  return lock_.operations->wait(lock_.lock, waiters_, blocker, deadline, interruptible);
}

bool Condition::await(Deadline deadline) {
  const WaitOutcome outcome = wait(deadline, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) {
    throw InterruptedError(std::string("interrupted while waiting on a ") + type_ +
                           (name_.empty() ? "" : " \"" + name_ + "\""));
  }
  return outcome == WaitOutcome::Met;
}

void Condition::await_uninterruptibly() { wait(Deadline::never(), Interruptible::No); }

void Condition::signal_all() {
  lock_.operations->check_owner(lock_.lock, "signal");
  while (waiters_.head != nullptr) signal();
}

std::uint32_t Condition::waiters_of(const void* lock) const {
  if (lock_.lock != lock) {
    throw Error("the condition" + (name_.empty() ? std::string() : " \"" + name_ + "\"") +
                " belongs to another lock");
  }
  lock_.operations->check_owner(lock, "a look at who waits");
  std::uint32_t count = 0;
  for (const detail::ConditionNode* node = waiters_.head; node != nullptr; node = node->next) ++count;
  return count;
}

}  // namespace creel
