#include "native_thread.hpp"
#include "thread_body.hpp"
#include "thread_record.hpp"
#include "virtual_thread.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_container.hpp>

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace creel {

using detail::ThreadRecord;
using detail::WaitOutcome;

namespace {

detail::ActivityText& own_activity() noexcept {
  return detail::current_record().running.load(std::memory_order_relaxed)->activity;
}

}  // namespace

std::string_view to_string(ThreadState state) noexcept {
  constexpr std::array<std::string_view, 6> kNames{"NEW",     "RUNNABLE",      "BLOCKED",
                                                   "WAITING", "TIMED_WAITING", "TERMINATED"};
  return kNames[static_cast<std::size_t>(state)];
}

Thread Thread::current() { return Thread(detail::current_record().shared_from_this()); }
std::string Thread::current_name() { return detail::current_record().name(); }

Thread Thread::adopt_current(std::string name) {
  Thread self = current();
  self.set_name(std::move(name));
  return self;
}

std::uint64_t Thread::id() const noexcept { return record_->id; }
std::string Thread::name() const { return record_->name(); }
bool Thread::is_virtual() const noexcept { return record_->is_virtual; }
bool Thread::is_daemon() const noexcept { return record_->daemon.load(std::memory_order_relaxed); }
int Thread::priority() const noexcept { return record_->priority.load(std::memory_order_relaxed); }
ThreadState Thread::state() const noexcept { return record_->state.load(std::memory_order_acquire); }

void Thread::set_priority(int priority) const {
  detail::check_priority(priority);
  record_->priority.store(static_cast<std::int8_t>(priority), std::memory_order_relaxed);
  const pid_t tid = record_->os_tid.load(std::memory_order_relaxed);
  if (!record_->is_virtual && tid != 0) detail::set_kernel_priority(tid, priority);
}

void Thread::set_name(std::string name) {
  const pid_t tid = record_->os_tid.load(std::memory_order_relaxed);
  // Not the first thread's: its kernel name is the process's in ps and top.
  if (!record_->is_virtual && tid != 0 && tid != ::getpid()) detail::set_kernel_name(tid, name);
  record_->set_name(std::move(name));
}

bool Thread::is_alive() const noexcept {
  const ThreadState now = state();
  return now != ThreadState::New && now != ThreadState::Terminated;
}

void Thread::interrupt() const {
  if (state() == ThreadState::Terminated) return;
  record_->stopper.request_stop();  // first: who catches InterruptedError may ask its stop_token why
  record_->interrupted.fetch_or(ThreadRecord::kInterrupt, std::memory_order_seq_cst);
  LockSupport::unpark(*record_);
}

bool Thread::is_interrupted() const noexcept {
  return record_->interrupted.load(std::memory_order_acquire) != 0;
}

bool Thread::interrupted() noexcept { return detail::current_record().take_interrupt() != 0; }

bool Thread::join(Deadline deadline) const {
  if (record_.get() == &detail::current_record())
    throw Error("a thread cannot join itself: it would wait for ever");
  if (state() == ThreadState::New)
    throw Error("thread \"" + record_->name() + "\" has not been started: nobody can join it");
  const auto ended = [this] { return state() == ThreadState::Terminated; };
  if (ended()) return true;  // also for a caller that was interrupted: it need not wait
  const std::string name = record_->name();
  const Blocker blocker{record_.get(), "creel::Thread", name.c_str(), &record_->id, WaitKind::Joining};
  switch (record_->joiners.await(blocker, deadline, detail::Interruptible::Yes, detail::WaitQueue::Order::Any,
                                 ended)) {
    case WaitOutcome::Met:
      return true;
    case WaitOutcome::TimedOut:
      return false;
    case WaitOutcome::Interrupted:
      break;
  }
  throw InterruptedError("interrupted while joining thread \"" + name + "\"");
}

void Thread::sleep(Deadline deadline) {
  const Blocker blocker{nullptr, "creel::Thread", nullptr, nullptr, WaitKind::Sleeping};
  for (;;) {
    if (interrupted()) throw InterruptedError("interrupted while sleeping");
    if (deadline.expired()) return;
    LockSupport::park(blocker, deadline);
  }
}

void Thread::yield() noexcept {
  ThreadRecord& self = detail::current_record();
  if (self.is_virtual) {
    detail::yield_virtual(static_cast<detail::VirtualThread&>(self));
  } else {
    ::sched_yield();
  }
}

std::vector<Thread> Thread::all() {
  std::vector<Thread> threads;
  for (auto& record : detail::ThreadRegistry::instance().snapshot()) threads.emplace_back(std::move(record));
  return threads;
}

ThreadCounts Thread::counts() noexcept { return detail::ThreadRegistry::instance().counts(); }
void Thread::reset_peak_count() noexcept { detail::ThreadRegistry::instance().reset_peak(); }

bool Thread::holds_lock(const Monitor& monitor) noexcept { return monitor.is_held_by_current_thread(); }

void detail::check_priority(int priority) {
  if (priority >= 1 && priority <= 10) return;
  throw Error("thread priority " + std::to_string(priority) + " is out of range; use 1 (least) to 10");
}

void Thread::on_spin_wait() noexcept { detail::cpu_relax(); }

Activity::Activity(std::string_view text) noexcept : previous_{} {
  static_assert(sizeof previous_ == detail::ActivityText::kCapacity);
  const std::string before = own_activity().get();
  std::memcpy(previous_, before.data(), std::min(before.size(), sizeof previous_ - 1));
  set(text);
}

Activity::~Activity() { set(previous_); }

void Activity::set(std::string_view text) noexcept { own_activity().set(text); }

}  // namespace creel
