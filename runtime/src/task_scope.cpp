#include "container_scope.hpp"
#include "delayer.hpp"
#include "scope_exit.hpp"
#include "thread_body.hpp"
#include "thread_record.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/task_scope.hpp>
#include <creel/runtime/thread_local.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <new>
#include <utility>

namespace creel {

std::string_view to_string(SubtaskState state) noexcept {
  constexpr std::array<std::string_view, 3> kNames{"UNAVAILABLE", "SUCCESS", "FAILED"};
  return kNames[static_cast<std::size_t>(state)];
}

FailedError::FailedError(std::exception_ptr cause, std::source_location where)
    : Error("a creel::TaskScope failed: " + detail::describe_exception(cause), ErrorCode::Failed, where),
      cause_(std::move(cause)) {}

namespace joiners {
namespace {

class AwaitAllSuccessful final : public Joiner<void, void> {
 public:
  bool on_complete(const AnySubtask& subtask) override {
    return subtask.state() == SubtaskState::Failed && failure_.keep(subtask);
  }
  void result() override { failure_.rethrow(); }

 private:
  detail::FirstFailure failure_;
};

class AwaitAll final : public Joiner<void, void> {
 public:
  void result() override {}
};

}  // namespace

std::unique_ptr<Joiner<void, void>> await_all_successful_or_throw() {
  return std::make_unique<AwaitAllSuccessful>();
}

std::unique_ptr<Joiner<void, void>> await_all() { return std::make_unique<AwaitAll>(); }

}  // namespace joiners

namespace detail {
namespace {

// The scopes that a thread has open, innermost first, linked by outer_. Few threads have any.
const ThreadLocal<TaskScopeCore*>& innermost_scope() {
  static const auto* innermost = new ThreadLocal<TaskScopeCore*>;  // never freed: see ThreadRegistry
  return *innermost;
}

void join_uninterruptibly(const Thread& thread) noexcept {
  bool is_interrupted = false;
  for (;;) {
    try {
      thread.join();
      break;
    } catch (const InterruptedError&) {
      is_interrupted = true;
    }
  }
  if (is_interrupted) Thread::current().interrupt();
}

const ThreadFactory& virtual_threads() {
  static const auto* factory = new ThreadFactory(Thread::of_virtual().factory());
  return *factory;
}

}  // namespace

TaskScopeCore* innermost_task_scope(const ThreadRecord& self) noexcept {
  return self.locals != nullptr ? innermost_scope().get() : nullptr;
}

void close_task_scopes_within(ThreadRecord& self, TaskScopeCore* outer) noexcept {
  while (TaskScopeCore* inner = innermost_task_scope(self)) {
    if (inner == outer) return;
    log::error("task_scope.left_open",
               {{"scope", inner->options_.name}, {"why", "what it was opened in has ended; close it first"}});
    inner->close_this();
  }
}

void SubtaskCore::check_joined() const {
  const TaskScopeCore& scope = *scope_;
  const ThreadRecord* self = current_record_or_null();
  if (scope.phase_.load(std::memory_order_relaxed) < TaskScopeCore::Phase::Joined && self != nullptr &&
      self->id == scope.owner_id_)
    throw Error("the owner of" + scope.quoted_name() + " asked for the outcome of a subtask before join()");
}

void SubtaskCore::check_success() const {
  check_joined();
  if (const SubtaskState now = state(); now != SubtaskState::Success)
    throw Error("a subtask that is " + std::string(to_string(now)) + " has no value");
}

const std::exception_ptr& SubtaskCore::exception() const {
  check_joined();
  if (const SubtaskState now = state(); now != SubtaskState::Failed)
    throw Error("a subtask that is " + std::string(to_string(now)) + " has no exception");
  return exception_;
}

std::shared_ptr<TaskScopeCore> TaskScopeCore::open(TaskScopeOptions options) {
  auto scope = std::make_shared<TaskScopeCore>(std::move(options));
  innermost_scope().set(scope.get());
  return scope;
}

TaskScopeCore::TaskScopeCore(TaskScopeOptions options)
    : options_(std::move(options)),
      owner_(current_record()),
      owner_id_(owner_.id),
      bindings_(owner_.scoped_values.load(std::memory_order_relaxed)),
      outer_(innermost_task_scope(owner_)),
      container_(ThreadContainer::create(options_.name, "creel::TaskScope",
                                         outer_ != nullptr ? outer_->container_->node() : owner_.container)),
      exceptions_at_open_(std::uncaught_exceptions()) {}

TaskScopeCore::~TaskScopeCore() = default;

std::string TaskScopeCore::quoted_name() const {
  return " the scope" + (options_.name.empty() ? std::string() : " \"" + options_.name + "\"");
}

void TaskScopeCore::check_owner(const char* what) const {
  if (&current_record() != &owner_)
    throw Error(std::string(what) + quoted_name() + ": only the thread that opened it may");
}

void TaskScopeCore::check_fork() {
  check_owner("fork() in");
  if (phase_.load(std::memory_order_relaxed) > Phase::Forked)
    throw Error("fork() in" + quoted_name() + " after join(); open another scope");
  if (owner_.scoped_values.load(std::memory_order_relaxed) != bindings_)
    throw Error(
        "fork() in" + quoted_name() +
        " where other scoped values are bound than where it was opened; open it inside where(…).run(…)");
  phase_.store(Phase::Forked, std::memory_order_relaxed);
  if (options_.deadline.expired()) cancel(true);
}

void TaskScopeCore::start(std::shared_ptr<SubtaskCore> subtask) {
  if (is_cancelled()) {
    subtask->drop();
    return;
  }
  running_.fetch_add(1, std::memory_order_relaxed);
  {
    const std::lock_guard guard{lock_};
    ++entering_;
  }
  try {
    start_timer();
    const ThreadFactory& factory = options_.factory ? options_.factory : virtual_threads();
    start_in(*container_, factory,
             [scope_core = shared_from_this(), subtask = std::move(subtask)] { scope_core->run(*subtask); });
  } catch (...) {
    {
      const std::lock_guard guard{lock_};
      --entering_;
    }
    end_one();
    throw;
  }
}

// With the first subtask: before there is nothing to interrupt. The owner may be anywhere when it fires.
void TaskScopeCore::start_timer() {
  if (timer_ || options_.deadline.is_never()) return;
  timer_ = delayer().schedule(
      [self = weak_from_this()] {
        const std::shared_ptr<TaskScopeCore> scope = self.lock();
        if (scope != nullptr && scope->phase_.load(std::memory_order_relaxed) < Phase::Joined)
          scope->cancel(true);
      },
      options_.deadline);
}

// The owner is going to wait for the subtasks.
void TaskScopeCore::await_subtasks_known() noexcept {
  const std::lock_guard guard{lock_};
  is_awaited_ = true;
  if (entering_ == 0) declare_subtasks();
}

// Under lock_. Any of them may end the wait, by cancelling, but nobody who is not among them.
void TaskScopeCore::declare_subtasks() noexcept {
  try {
    std::vector<std::uint64_t> ids;
    for (const SubtaskCore* subtask = first_; subtask != nullptr; subtask = subtask->next_)
      ids.push_back(subtask->thread_->id);
    subtasks_.assign(std::move(ids));
  } catch (const std::bad_alloc&) {  // then the search says nothing of this wait
  }
}

// On the subtask's thread.
void TaskScopeCore::run(SubtaskCore& subtask) {
  const ScopeExit at_end([&] { leave(subtask); });
  if (!enter(subtask)) {
    subtask.drop();
    return;
  }
  std::exception_ptr exception;
  try {
    subtask.run();
  } catch (abi::__forced_unwind&) {
    throw;  // pthread_exit
  } catch (...) {
    exception = std::current_exception();
  }
  if (is_cancelled()) return;  // nobody is interested any more
  const SubtaskState state = exception == nullptr ? SubtaskState::Success : SubtaskState::Failed;
  subtask.exception_ = std::move(exception);
  subtask.state_.store(state, std::memory_order_release);
  if (subtask.tell_joiner()) cancel();
}

bool TaskScopeCore::enter(SubtaskCore& subtask) {
  ThreadRecord& self = current_record();
  self.scoped_values.store(bindings_, std::memory_order_release);
  const std::lock_guard guard{lock_};
  --entering_;
  if (is_cancelled()) return false;
  subtask.thread_ = &self;
  subtask.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &subtask;
  first_ = &subtask;
  if (is_awaited_ && entering_ == 0) declare_subtasks();
  return true;
}

void TaskScopeCore::leave(SubtaskCore& subtask) noexcept {
  {
    const std::lock_guard guard{lock_};
    if (subtask.thread_ != nullptr) unlink(subtask);
    if (ending_.size() >= ending_limit_) {
      std::erase_if(ending_, [](const Thread& thread) { return thread.state() == ThreadState::Terminated; });
      ending_limit_ = std::max(2 * ending_.size(), kFewEnding);
    }
    ending_.push_back(Thread::current());
  }
  ThreadRecord& self = current_record();
  close_task_scopes_within(self, nullptr);
  self.scoped_values.store(nullptr, std::memory_order_release);
  end_one();
}

void TaskScopeCore::unlink(SubtaskCore& subtask) noexcept {
  (subtask.previous_ != nullptr ? subtask.previous_->next_ : first_) = subtask.next_;
  if (subtask.next_ != nullptr) subtask.next_->previous_ = subtask.previous_;
  subtask.previous_ = subtask.next_ = nullptr;
  subtask.thread_ = nullptr;
}

void TaskScopeCore::end_one() noexcept {
  // acq_rel: the last one carries the effects of all to the owner.
  if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) ended_.change_and_wake_all([] {});
}

void TaskScopeCore::cancel(bool by_deadline) noexcept {
  {
    const std::lock_guard guard{lock_};  // a subtask that enters sees it, or stands in the list
    if (is_cancelled()) return;
    is_timed_out_.store(by_deadline, std::memory_order_relaxed);
    is_cancelled_.store(true, std::memory_order_release);
  }
  const ThreadRecord& self = current_record();
  for (bool more = true; more;) {
    // Some at a time, and outside of the lock: interrupt() may run the stop callbacks of users.
    std::array<std::shared_ptr<ThreadRecord>, 16> some;
    std::size_t count = 0;
    {
      const std::lock_guard guard{lock_};
      while (first_ != nullptr && count < some.size()) {
        some[count++] = first_->thread_->shared_from_this();
        unlink(*first_);
      }
      more = first_ != nullptr;
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (some[i].get() != &self) Thread(std::move(some[i])).interrupt();
    }
  }
  ended_.change_and_wake_all([] {});
}

void TaskScopeCore::stop_timer() noexcept {
  if (timer_) timer_.cancel(false);
}

Blocker TaskScopeCore::blocker_of_owner() const noexcept {
  return {.object = this,
          .type = "creel::TaskScope",
          .name = options_.name.empty() ? nullptr : options_.name.c_str(),
          .wakers = &subtasks_};
}

void TaskScopeCore::join() {
  check_owner("join() of");
  if (phase_.load(std::memory_order_relaxed) > Phase::Forked)
    throw Error("join() of" + quoted_name() + " a second time, or after close()");
  phase_.store(Phase::JoinBegun, std::memory_order_relaxed);
  WaitOutcome outcome = WaitOutcome::Interrupted;
  if (!owner_.take_interrupt()) {
    await_subtasks_known();
    const Blocker blocker = blocker_of_owner();
    outcome = ended_.await(blocker, options_.deadline, Interruptible::Yes, WaitQueue::Order::Any, [this] {
      return running_.load(std::memory_order_acquire) == 0 || is_cancelled();
    });
  }
  if (outcome == WaitOutcome::Interrupted)
    throw InterruptedError("interrupted while joining" + quoted_name());
  if (outcome == WaitOutcome::TimedOut) cancel(true);
  if (is_timed_out_.load(std::memory_order_relaxed))
    throw TimeoutError("the subtasks of" + quoted_name() + " had not ended at its deadline");
  phase_.store(Phase::Joined, std::memory_order_relaxed);
  stop_timer();
}

void TaskScopeCore::close_this() noexcept {
  stop_timer();
  if (running_.load(std::memory_order_acquire) != 0) {
    if (!is_cancelled()) await_subtasks_known();  // cancelling empties the list
    cancel();
    const Blocker blocker = blocker_of_owner();
    ended_.await(blocker, Deadline::never(), Interruptible::No, WaitQueue::Order::Any,
                 [this] { return running_.load(std::memory_order_acquire) == 0; });
  }
  // What their destructors still do may need what the owner destroys next. No lock: nobody is left to leave.
  for (const Thread& thread : ending_) join_uninterruptibly(thread);
  ending_.clear();
  phase_.store(Phase::Closed, std::memory_order_relaxed);
  container_.reset();
  innermost_scope().set(outer_);
}

void TaskScopeCore::close() {
  check_owner("close() of");
  const Phase phase = phase_.load(std::memory_order_relaxed);
  if (phase == Phase::Closed) return;
  const bool is_innermost = innermost_task_scope(owner_) == this;
  if (!is_innermost) close_task_scopes_within(owner_, this);
  close_this();
  if (!is_innermost)
    throw Error("closing" + quoted_name() + " before the scopes inside it; those were closed first");
  if (phase == Phase::Forked) throw Error("closing" + quoted_name() + " without join() after fork()");
}

void TaskScopeCore::close_in_destructor() noexcept {
  try {
    close();
  } catch (const Error& error) {
    if (phase_.load(std::memory_order_relaxed) != Phase::Closed) {
      // On a thread that does not own it: its list of scopes cannot be touched, its threads not be waited
      // for.
      log::error("task_scope.destroyed_elsewhere", {{"what", error.what()}});
      std::terminate();
    }
    if (std::uncaught_exceptions() == exceptions_at_open_)
      log::error("task_scope.misused", {{"what", error.what()}});
  }
}

}  // namespace detail
}  // namespace creel
