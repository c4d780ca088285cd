#include "scope_exit.hpp"
#include "shared_condition.hpp"
#include "thread_record.hpp"

#include <creel/runtime/shared_monitor.hpp>

namespace creel {
namespace {

using detail::Interruptible;
using detail::SharedLock;
using detail::WaitOutcome;

// In the segment, under the monitor's name.
struct SharedMonitorState {
  detail::SharedLockState lock;
  detail::SharedConditionState condition;
};

struct MonitorPlace final : detail::SharedPlace {
  MonitorPlace(detail::SharedPresence& presence, SharedMonitorState& state, const std::string& name)
      : lock(presence, state.lock, detail::kSharedMonitorType, name),
        condition(lock, state.condition, &state, detail::kSharedMonitorType, name, WaitKind::MonitorWait) {}
  MonitorPlace(detail::SharedPresence& presence, const detail::SharedMember& member, std::uint64_t offset,
               const std::string& name)
      : MonitorPlace(presence, member.at<SharedMonitorState>(offset), name) {}

  void look() noexcept override { lock.look(); }
  detail::SharedPresence& presence() const noexcept { return lock.presence(); }

  SharedLock lock;
  detail::SharedCondition condition;
};

std::string death_message(const std::string& monitor, const SharedOwner& owner) {
  return "creel::SharedMonitor \"" + monitor + "\": process " + std::to_string(owner.pid) + ", thread \"" +
         owner.thread_name + "\" #" + std::to_string(owner.thread_id) +
         ", died inside; repair what it guards: recover(), or a repair function";
}

}  // namespace

OwnerDiedError::OwnerDiedError(const std::string& monitor, SharedOwner owner, std::source_location where)
    : Error(death_message(monitor, owner), ErrorCode::RankLost, where), owner_(std::move(owner)) {}

struct SharedMonitor::State {
  State(SharedSegment& segment, std::string_view name, std::function<void()> repair_function)
      : handle(segment, segment.to_offset(&segment.find_or_construct<SharedMonitorState>(name)),
               std::string(name)),
        repair(std::move(repair_function)) {}

  SharedLock& lock() const { return handle.place().lock; }

  void entered(SharedLock& held) const;
  void end_doubt(SharedLock& held) const {
    if (!repair) throw OwnerDiedError(handle.name(), held.died());
    repair();
    held.end_doubt();
  }
  [[noreturn]] void throw_interrupted(const char* what) const {
    throw InterruptedError(std::string("interrupted while ") + what + " creel::SharedMonitor \"" +
                           handle.name() + "\"");
  }

  detail::SharedHandle<MonitorPlace> handle;
  std::function<void()> repair;
};

SharedMonitor::SharedMonitor(SharedSegment& segment, std::string_view name, std::function<void()> repair)
    : state_(std::make_unique<State>(segment, name, std::move(repair))) {}

SharedMonitor::~SharedMonitor() = default;

bool SharedMonitor::destroy(SharedSegment& segment, std::string_view name) {
  return segment.destroy<SharedMonitorState>(name);
}

// Entered now, perhaps in doubt.
void SharedMonitor::State::entered(SharedLock& held) const {
  // holds: what repair() or recover() does inside is under the doubt that it ends.
  if (!held.in_doubt() || held.holds() > 1) [[likely]]
    return;
  try {
    end_doubt(held);
  } catch (...) {
    held.unlock();
    throw;
  }
}

void SharedMonitor::lock() {
  SharedLock& lock = state_->lock();
  lock.lock(detail::caller_stack_pointer(), Deadline::never(), Interruptible::No);
  state_->entered(lock);
}

bool SharedMonitor::try_lock() {
  SharedLock& lock = state_->lock();
  if (!lock.try_lock(detail::caller_stack_pointer())) return false;
  state_->entered(lock);
  return true;
}

bool SharedMonitor::try_lock(Deadline deadline) {
  SharedLock& lock = state_->lock();
  const WaitOutcome outcome = lock.lock(detail::caller_stack_pointer(), deadline, Interruptible::Yes);
  if (outcome == WaitOutcome::Interrupted) state_->throw_interrupted("waiting to enter");
  if (outcome == WaitOutcome::TimedOut) return false;
  state_->entered(lock);
  return true;
}

void SharedMonitor::unlock() { state_->lock().unlock(); }

bool SharedMonitor::wait(Deadline deadline) {
  MonitorPlace& place = state_->handle.place();
  const WaitOutcome outcome = place.condition.wait(deadline);
  if (place.lock.in_doubt()) [[unlikely]]
    state_->end_doubt(place.lock);
  if (outcome == WaitOutcome::Interrupted) state_->throw_interrupted("waiting on");
  return outcome == WaitOutcome::Met;
}

void SharedMonitor::notify_one() { state_->handle.place().condition.notify_one(); }
void SharedMonitor::notify_all() { state_->handle.place().condition.notify_all(); }

bool SharedMonitor::recover(const std::function<void()>& repair) {
  SharedLock& lock = state_->lock();
  lock.lock(detail::caller_stack_pointer(), Deadline::never(), Interruptible::No);
  const detail::ScopeExit leave{[&] { lock.unlock(); }};
  if (!lock.in_doubt()) return false;
  repair();
  lock.end_doubt();
  return true;
}

bool SharedMonitor::is_in_doubt() const noexcept { return state_->lock().in_doubt(); }
bool SharedMonitor::is_held_by_current_thread() const noexcept {
  return state_->lock().is_held_by(detail::current_record());
}
std::optional<SharedOwner> SharedMonitor::owner() const { return state_->lock().owner(); }
const std::string& SharedMonitor::name() const noexcept { return state_->handle.name(); }

}  // namespace creel
