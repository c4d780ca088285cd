#include "container_scope.hpp"
#include "scope_exit.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread_pool_executor.hpp>

#include <algorithm>
#include <limits>
#include <mutex>
#include <vector>

namespace creel {
namespace {

std::string next_pool_name() {
  static std::atomic<std::uint64_t> next{1};
  return "pool-" + std::to_string(next.fetch_add(1, std::memory_order_relaxed));
}

}  // namespace

// The pool's threads share it, so that the last one may still leave while the executor is destroyed.
class ThreadPoolExecutor::State : public std::enable_shared_from_this<State> {
 public:
  explicit State(Options options);

  void execute(Task task);
  void shutdown();
  std::vector<Task> shutdown_now();
  bool is_shutdown() const noexcept { return phase_.load() != Phase::Running; }
  bool is_terminated() const noexcept {
    return is_shutdown() && threads_.load() == 0 && options_.queue->empty();
  }
  bool await_termination(Deadline deadline);
  void await_termination_uninterruptibly();
  Counts counts() const;

 private:
  enum class Phase : std::uint8_t { Running, ShutDown, Stopped };
  enum class WorkerEnd : std::uint8_t { Exception, Idle, Shutdown };

  bool add_worker(Task& first, std::size_t limit);
  void work(Task first);
  std::optional<Task> next_task(WorkerEnd& how);
  bool leave_idle() noexcept;
  void worker_ends(WorkerEnd how) noexcept;
  void reject(Task& task);

  Options options_;
  std::shared_ptr<ThreadContainer> container_;
  std::atomic<Phase> phase_{Phase::Running};
  std::atomic<std::size_t> threads_{0};
  std::atomic<std::size_t> active_{0};
  std::atomic<std::uint64_t> completed_{0};
  mutable ReentrantLock lock_;  // guards what follows
  Condition terminated_{lock_};
  std::vector<Thread> workers_;
  std::size_t largest_ = 0;
};

ThreadPoolExecutor::State::State(Options options) : options_(std::move(options)) {
  if (options_.maximum_size == 0) options_.maximum_size = options_.core_size;
  if (options_.maximum_size == 0 || options_.core_size > options_.maximum_size) {
    throw Error("a thread pool of core size " + std::to_string(options_.core_size) + " and maximum size " +
                std::to_string(options_.maximum_size) + "; use 1 or more, and core ≤ maximum");
  }
  if (options_.name.empty()) options_.name = next_pool_name();
  if (options_.queue == nullptr) {
    options_.queue =
        std::make_shared<LinkedBlockingQueue<Task>>(std::numeric_limits<std::size_t>::max(), options_.name);
  }
  if (!options_.factory) options_.factory = Thread::of_platform().name(options_.name + "-", 0).factory();
  container_ = ThreadContainer::create(options_.name, "creel::ThreadPoolExecutor");
}

void ThreadPoolExecutor::State::execute(Task task) {
  if (is_shutdown()) return reject(task);
  if (add_worker(task, options_.core_size)) return;
  // A queue that was closed by a shutdown refuses; what it accepts before will be run by those that drain it.
  if (options_.queue->offer(std::move(task))) {
    Task none;
    if (threads_.load() == 0) add_worker(none, options_.maximum_size);
    return;
  }
  if (!is_shutdown() && add_worker(task, options_.maximum_size)) return;
  reject(task);
}

// Starts a thread with `first` as its first task (or none), if there are fewer than `limit`.
bool ThreadPoolExecutor::State::add_worker(Task& first, std::size_t limit) {
  std::size_t count = threads_.load();
  do {
    if (count >= limit) return false;
  } while (!threads_.compare_exchange_weak(count, count + 1));
  auto shared = std::make_shared<Task>(std::move(first));
  const std::lock_guard guard{lock_};
  if (phase_.load() == Phase::Stopped || (is_shutdown() && *shared)) {  // a shutdown came between
    threads_.fetch_sub(1);
    first = std::move(*shared);
    return false;
  }
  try {
    const detail::ContainerScope scope{*container_};
    workers_.push_back(
        options_.factory([self = shared_from_this(), shared] { self->work(std::move(*shared)); }));
  } catch (...) {
    threads_.fetch_sub(1);
    terminated_.signal_all();
    throw;
  }
  largest_ = std::max(largest_, workers_.size());
  return true;
}

void ThreadPoolExecutor::State::work(Task first) {
  WorkerEnd how = WorkerEnd::Exception;
  const detail::ScopeExit at_end([&] { worker_ends(how); });  // also when a task throws: the pool must know
  std::optional<Task> task;
  if (first) task = std::move(first);
  while (task || (task = next_task(how))) {
    // An interrupt that was meant for the task before must not hit this one; shutdown_now()'s is meant for
    // all.
    if (phase_.load() != Phase::Stopped) Thread::interrupted();
    active_.fetch_add(1);
    const detail::ScopeExit done([this] {
      active_.fetch_sub(1);
      completed_.fetch_add(1);
    });
    (*task)();
    task.reset();
  }
}

// The next task; none if the thread is to end, and then how.
std::optional<Task> ThreadPoolExecutor::State::next_task(WorkerEnd& how) {
  for (;;) {
    try {
      const bool may_leave = options_.core_may_time_out || threads_.load() > options_.core_size;
      std::optional<Task> task =
          options_.queue->poll(may_leave ? Deadline(options_.keep_alive) : Deadline::never());
      if (!task && options_.queue->is_closed()) how = WorkerEnd::Shutdown;
      if (!task && how != WorkerEnd::Shutdown && may_leave && leave_idle()) how = WorkerEnd::Idle;
      if (task || how != WorkerEnd::Exception) return task;
    } catch (const InterruptedError&) {
      // Somebody's late interrupt: a thread of the pool ends by shutdown only, which closes the queue.
    }
  }
}

// A thread that had nothing to do for long signs off, unless too few would stay.
bool ThreadPoolExecutor::State::leave_idle() noexcept {
  const std::size_t least = options_.core_may_time_out ? 0 : options_.core_size;
  for (std::size_t count = threads_.load(); count > least && options_.queue->empty();) {
    if (threads_.compare_exchange_weak(count, count - 1)) return true;
  }
  return false;
}

void ThreadPoolExecutor::State::worker_ends(WorkerEnd how) noexcept {
  Task none;
  {
    const std::lock_guard guard{lock_};
    const Thread self = Thread::current();
    std::erase(workers_, self);
    if (how != WorkerEnd::Idle) threads_.fetch_sub(1);
    if (is_terminated()) terminated_.signal_all();
  }
  // Replace one that an exception ended, or the last one if a task came as it left.
  const bool needed = threads_.load() == 0 && !options_.queue->empty();
  if (!needed && !(how == WorkerEnd::Exception && !is_shutdown())) return;
  try {
    add_worker(none, options_.maximum_size);
  } catch (const Error&) {
    // No more threads: the next task tries again.
  }
}

void ThreadPoolExecutor::State::reject(Task& task) {
  switch (options_.rejection) {
    case Rejection::Abort:
      break;
    case Rejection::CallerRuns:
      if (!is_shutdown()) task();
      return;
    case Rejection::Discard:
      return;
    case Rejection::DiscardOldest:
      if (is_shutdown()) return;
      options_.queue->poll();
      return execute(std::move(task));
  }
  throw RejectedError("thread pool \"" + options_.name + "\" takes no task: it " +
                      (is_shutdown() ? "is shut down"
                                     : "has all of its " + std::to_string(options_.maximum_size) +
                                           " threads busy and its queue of " +
                                           std::to_string(options_.queue->capacity()) + " full"));
}

void ThreadPoolExecutor::State::shutdown() {
  const std::lock_guard guard{lock_};
  Phase running = Phase::Running;
  phase_.compare_exchange_strong(running, Phase::ShutDown);
  options_.queue->close();
  if (is_terminated()) terminated_.signal_all();
}

std::vector<Task> ThreadPoolExecutor::State::shutdown_now() {
  std::vector<Task> left;
  const std::lock_guard guard{lock_};
  phase_.store(Phase::Stopped);
  options_.queue->close();
  options_.queue->drain_to(std::back_inserter(left));
  for (const Thread& worker : workers_) worker.interrupt();
  if (is_terminated()) terminated_.signal_all();
  return left;
}

bool ThreadPoolExecutor::State::await_termination(Deadline deadline) {
  const std::lock_guard guard{lock_};
  return terminated_.await([this] { return is_terminated(); }, deadline);
}

void ThreadPoolExecutor::State::await_termination_uninterruptibly() {
  const std::lock_guard guard{lock_};
  while (!is_terminated()) terminated_.await_uninterruptibly();
}

ThreadPoolExecutor::Counts ThreadPoolExecutor::State::counts() const {
  const std::lock_guard guard{lock_};
  return {workers_.size(), active_.load(), largest_, options_.queue->size(), completed_.load()};
}

ThreadPoolExecutor::ThreadPoolExecutor(Options options)
    : state_(std::make_shared<State>(std::move(options))) {}

ThreadPoolExecutor::~ThreadPoolExecutor() {
  state_->shutdown();
  state_->await_termination_uninterruptibly();
}

void ThreadPoolExecutor::execute(Task task) { state_->execute(std::move(task)); }
void ThreadPoolExecutor::shutdown() { state_->shutdown(); }
std::vector<Task> ThreadPoolExecutor::shutdown_now() { return state_->shutdown_now(); }
bool ThreadPoolExecutor::is_shutdown() const noexcept { return state_->is_shutdown(); }
bool ThreadPoolExecutor::is_terminated() const noexcept { return state_->is_terminated(); }
bool ThreadPoolExecutor::await_termination(Deadline deadline) { return state_->await_termination(deadline); }
ThreadPoolExecutor::Counts ThreadPoolExecutor::counts() const { return state_->counts(); }

}  // namespace creel
