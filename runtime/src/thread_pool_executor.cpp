#include "container_scope.hpp"
#include "scope_exit.hpp"
#include "thread_body.hpp"
#include "thread_pool_state.hpp"

#include <creel/runtime/log.hpp>

#include <algorithm>
#include <iterator>
#include <mutex>
#include <utility>

namespace creel {
namespace {

std::string next_pool_name() {
  static std::atomic<std::uint64_t> next{1};
  return "pool-" + std::to_string(next.fetch_add(1, std::memory_order_relaxed));
}

// A deadline that has passed, without a look at the clock for each task.
const Deadline kAtOnce(Deadline::Clock::time_point::min());

void check_sizes(std::size_t core, std::size_t maximum) {
  if (maximum != 0 && core <= maximum) return;
  throw Error("a thread pool of core size " + std::to_string(core) + " and maximum size " +
              std::to_string(maximum) + "; use a maximum of 1 or more, and core ≤ maximum");
}

void check_keep_alive(std::chrono::nanoseconds time, bool core_may_time_out) {
  if (time.count() > 0 || (time.count() == 0 && !core_may_time_out)) return;
  throw Error("a keep-alive time of " + std::to_string(time.count()) + " ns" +
              (core_may_time_out ? "; core threads that may time out need one above 0"
                                 : "; it must not be negative"));
}

ThreadFactory platform_threads(const std::string& name) {
  return Thread::of_platform().name(name + "-", 0).factory();
}

}  // namespace

void ThreadPoolExecutor::State::Worker::start_task() noexcept {
  Activity idle = Activity::Idle;
  if (activity.load(std::memory_order_relaxed) == Activity::Running) return;  // its first one: see add_worker
  // acquire: an interrupt that was meant for an idle thread is seen, and cleared, before the task begins.
  while (!activity.compare_exchange_weak(idle, Activity::Running, std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
    idle = Activity::Idle;
    detail::cpu_relax();
  }
}

void ThreadPoolExecutor::State::Worker::end_task() noexcept {
  completed.store(completed.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  activity.store(Activity::Idle, std::memory_order_release);
}

void ThreadPoolExecutor::State::Worker::interrupt_if_idle() noexcept {
  Activity idle = Activity::Idle;
  if (!activity.compare_exchange_strong(idle, Activity::Interrupting, std::memory_order_acquire)) return;
  thread.interrupt();
  activity.store(Activity::Idle, std::memory_order_release);
}

ThreadPoolExecutor::State::State(Options options)
    : options_(std::move(options)),
      core_size_(options_.core_size),
      maximum_size_(options_.maximum_size == 0 ? options_.core_size : options_.maximum_size),
      keep_alive_(options_.keep_alive),
      core_may_time_out_(options_.core_may_time_out),
      rejection_(options_.rejection) {
  check_sizes(core_size_.load(), maximum_size_.load());
  check_keep_alive(options_.keep_alive, options_.core_may_time_out);
  const bool has_name = !options_.name.empty();
  if (!has_name) options_.name = next_pool_name();
  if (options_.queue == nullptr) options_.queue = std::make_shared<detail::TaskQueue>(options_.name);
  own_queue_ = dynamic_cast<detail::TaskQueue*>(options_.queue.get());
  if (!options_.factory) options_.factory = platform_threads(options_.name);
  container_ = ThreadContainer::create(options_.name, "creel::ThreadPoolExecutor");
  if (has_name) publish(options_.name);
}

// Not the numbered ones: readers would see names come and go for ever.
void ThreadPoolExecutor::State::publish(const std::string& name) {
  gauges_ = std::make_unique<detail::ExecutorGauges>(name);
  gauges_->add("queue", [this] { return static_cast<std::int64_t>(options_.queue->size()); });
  gauges_->add("active", [this] { return static_cast<std::int64_t>(read_counts().active); });
  gauges_->add("completed", [this] { return static_cast<std::int64_t>(read_counts().completed); });
}

// The figures of before where the lock is not free: see ExecutorGauges.
const ThreadPoolExecutor::Counts& ThreadPoolExecutor::State::read_counts() noexcept {
  if (const std::unique_lock guard{lock_, std::try_to_lock}) last_read_ = counts();
  return last_read_;
}

void ThreadPoolExecutor::State::execute(Task task, ThreadPoolExecutor& pool) {
  if (!task) throw Error("execute() of an empty task");
  if (!accept(task)) reject(task, pool);
}

// False, with the task still there, if it has to be rejected.
bool ThreadPoolExecutor::State::accept(Task& task) {
  if (is_shutdown()) return false;
  if (threads_.load() < core_size_.load() && add_worker(task, core_size_.load())) return true;
  // A queue that was closed by a shutdown refuses; what it accepts before will be run by those that drain it.
  if (options_.queue->offer(std::move(task), kAtOnce)) {
    Task none;
    if (threads_.load() == 0 || (own_queue_ != nullptr && own_queue_->needs_worker()))
      add_worker(none, maximum_size_.load());
    return true;
  }
  return !is_shutdown() && add_worker(task, maximum_size_.load());
}

bool ThreadPoolExecutor::State::add_worker(Task& first, std::size_t limit) {
  std::size_t count = threads_.load();
  do {
    if (count >= limit) return false;
  } while (!threads_.compare_exchange_weak(count, count + 1));
  auto shared = std::make_shared<Task>(std::move(first));  // a factory's std::function must be copyable
  const std::lock_guard guard{lock_};
  if (phase_.load() == Phase::Stopped || (is_shutdown() && *shared)) {  // a shutdown came between
    threads_.fetch_sub(1);
    first = std::move(*shared);
    announce_termination();
    return false;
  }
  Worker& worker = workers_.emplace_back();
  worker.place = std::prev(workers_.end());
  // As in Java, what has a thread counts as active before that thread is on a processor: no figure misses it.
  if (*shared) worker.activity.store(Worker::Activity::Running, std::memory_order_relaxed);
  try {
    // The lock keeps the thread from leaving before it stands in its place.
    worker.thread = detail::start_in(
        *container_, options_.factory,
        [self = shared_from_this(), &worker, shared] { self->work(worker, std::move(*shared)); });
  } catch (...) {
    workers_.pop_back();
    threads_.fetch_sub(1);
    first = std::move(*shared);
    announce_termination();
    throw;
  }
  largest_ = std::max(largest_, workers_.size());
  return true;
}

// For tasks that came into the queue by themselves.
void ThreadPoolExecutor::State::ensure_worker() {
  Task none;
  if (!add_worker(none, core_size_.load()) && threads_.load() == 0) add_worker(none, 1);
}

bool ThreadPoolExecutor::State::prestart() {
  Task none;
  return !is_shutdown() && add_worker(none, core_size_.load());
}

void ThreadPoolExecutor::State::work(Worker& self, Task first) {
  WorkerEnd how = WorkerEnd::Exception;
  const detail::ScopeExit at_end(
      [&] { worker_ends(self, how); });  // also when a task throws: the pool must know
  std::optional<Task> task;
  if (first) task = std::move(first);
  while (task || (task = next_task(how))) {
    run_task(self, *task);
    task.reset();
  }
}

void ThreadPoolExecutor::State::run_task(Worker& self, Task& task) {
  self.start_task();
  const detail::ScopeExit done([&] { self.end_task(); });
  // An interrupt that was meant for the task before must not hit this one; shutdown_now()'s is meant for all.
  if (phase_.load(std::memory_order_relaxed) != Phase::Stopped) Thread::interrupted();
  if (options_.before_execute) options_.before_execute(task);
  if (!options_.after_execute) return task();
  try {
    task();
  } catch (...) {
    options_.after_execute(task, std::current_exception());
    throw;
  }
  options_.after_execute(task, nullptr);
}

// The next task; none if the thread is to end, and then how.
std::optional<Task> ThreadPoolExecutor::State::next_task(WorkerEnd& how) {
  for (;;) {
    try {
      const bool may_leave = core_may_time_out_.load() || threads_.load() > core_size_.load();
      std::optional<Task> task =
          options_.queue->poll(may_leave ? Deadline(keep_alive_.load()) : Deadline::never());
      if (task) {
        // Of a queue that hands off: this was the worker for which another task was left there.
        Task none;
        if (own_queue_ != nullptr && own_queue_->needs_worker()) add_worker(none, maximum_size_.load());
        return task;
      }
      if (options_.queue->is_closed() && options_.queue->empty()) {
        how = WorkerEnd::Shutdown;
      } else if (may_leave && leave_idle()) {
        how = WorkerEnd::Idle;
      }
      if (how != WorkerEnd::Exception) return task;
    } catch (const InterruptedError&) {
      // Somebody's late interrupt, or new sizes: a thread of the pool ends by shutdown and keep_alive only.
    }
  }
}

// A thread that had nothing to do for long signs off, unless too few would stay.
bool ThreadPoolExecutor::State::leave_idle() noexcept {
  const std::size_t least = core_may_time_out_.load() ? 0 : core_size_.load();
  for (std::size_t count = threads_.load(); count > least && options_.queue->empty();) {
    if (threads_.compare_exchange_weak(count, count - 1)) return true;
  }
  return false;
}

void ThreadPoolExecutor::State::worker_ends(Worker& self, WorkerEnd how) noexcept {
  {
    const std::lock_guard guard{lock_};
    completed_by_gone_ += self.completed.load(std::memory_order_relaxed);
    if (how == WorkerEnd::Exception) failed_.add(self.thread);
    workers_.erase(self.place);
    if (how != WorkerEnd::Idle) threads_.fetch_sub(1);
    announce_termination();
  }
  // Replace one that an exception ended, or the last one if a task came as it left.
  const bool needed = threads_.load() == 0 && !options_.queue->empty();
  if (!needed && !(how == WorkerEnd::Exception && !is_shutdown())) return;
  try {
    Task none;
    add_worker(none, maximum_size_.load());
  } catch (const Error&) {
    // No more threads: the next task tries again.
  }
}

// Under lock_, wherever the pool may have come to its end.
void ThreadPoolExecutor::State::announce_termination() noexcept {
  if (is_terminated() || !is_shutdown() || threads_.load() != 0 || !options_.queue->empty()) return;
  try {
    if (const auto hook = std::exchange(options_.terminated, nullptr)) hook();
  } catch (...) {
    log::error("thread_pool.terminated_hook",
               {{"pool", options_.name}, {"what", detail::describe_exception(std::current_exception())}});
  }
  terminated_was_told_.store(true);
  terminated_.signal_all();
}

void ThreadPoolExecutor::State::reject(Task& task, ThreadPoolExecutor& pool) {
  if (const RejectionHandler handler = pool.rejection_handler()) return handler(std::move(task), pool);
  switch (rejection_.load()) {
    case Rejection::Abort:
      break;
    case Rejection::CallerRuns:
      if (!is_shutdown()) task();
      return;
    case Rejection::Discard:
      return;
    case Rejection::DiscardOldest:
      // Until there is room. A queue that has none even when it is empty hands over only: the task is
      // dropped.
      while (!is_shutdown()) {
        const bool made_room = options_.queue->poll().has_value();
        if (accept(task) || !made_room) return;
      }
      return;
  }
  throw RejectedError("thread pool \"" + options_.name + "\" takes no task: it " +
                      (is_shutdown() ? "is shut down"
                                     : "has all of its " + std::to_string(maximum_size_.load()) +
                                           " threads busy and its queue of " +
                                           std::to_string(options_.queue->capacity()) + " full"));
}

// Tasks may have been what a pool that is shut down waited for.
std::size_t ThreadPoolExecutor::State::remove_if(const std::function<bool(const Task&)>& unwanted) {
  const std::size_t removed = options_.queue->remove_if(unwanted);
  const std::lock_guard guard{lock_};
  announce_termination();
  return removed;
}

void ThreadPoolExecutor::State::set_rejection(std::optional<Rejection> rejection, RejectionHandler handler) {
  const std::lock_guard guard{lock_};
  if (rejection) rejection_.store(*rejection);
  options_.on_rejected.swap(handler);
}

void ThreadPoolExecutor::State::set_keep_alive(std::optional<std::chrono::nanoseconds> time,
                                               std::optional<bool> core_may_time_out) {
  {
    const std::lock_guard guard{lock_};
    check_keep_alive(time.value_or(keep_alive_.load()),
                     core_may_time_out.value_or(core_may_time_out_.load()));
    if (time) keep_alive_.store(*time);
    if (core_may_time_out) core_may_time_out_.store(*core_may_time_out);
  }
  wake_idle();
}

void ThreadPoolExecutor::State::resize(std::size_t core, std::size_t maximum) {
  {
    const std::lock_guard guard{lock_};
    check_sizes(core, maximum);
    core_size_.store(core);
    maximum_size_.store(maximum);
  }
  wake_idle();
  Task none;
  for (std::size_t queued = options_.queue->size(); queued > 0 && !is_shutdown(); --queued) {
    if (!add_worker(none, core)) return;
  }
}

// Those that wait look at the sizes again.
void ThreadPoolExecutor::State::wake_idle() {
  const std::lock_guard guard{lock_};
  for (Worker& worker : workers_) worker.interrupt_if_idle();
}

void ThreadPoolExecutor::State::shutdown() {
  const std::lock_guard guard{lock_};
  Phase running = Phase::Running;
  phase_.compare_exchange_strong(running, Phase::ShutDown);
  options_.queue->close();
  announce_termination();
}

std::vector<Task> ThreadPoolExecutor::State::shutdown_now() {
  std::vector<Task> left;
  const std::lock_guard guard{lock_};
  phase_.store(Phase::Stopped);
  options_.queue->close();
  options_.queue->drain_to(std::back_inserter(left));
  for (const Worker& worker : workers_) worker.thread.interrupt();
  announce_termination();
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

void ThreadPoolExecutor::State::await_failed_threads() {
  std::vector<Thread> failed;
  {
    const std::lock_guard guard{lock_};
    failed = failed_.take();
  }
  detail::join_uninterruptibly(failed);
}

ThreadPoolExecutor::Counts ThreadPoolExecutor::State::counts() const {
  const std::lock_guard guard{lock_};
  Counts counts{workers_.size(), 0, largest_, options_.queue->size(), completed_by_gone_};
  for (const Worker& worker : workers_) {
    if (worker.activity.load(std::memory_order_acquire) == Worker::Activity::Running) ++counts.active;
    counts.completed += worker.completed.load(std::memory_order_relaxed);
  }
  return counts;
}

ThreadPoolExecutor::ThreadPoolExecutor(Options options)
    : state_(std::make_shared<State>(std::move(options))) {}

ThreadPoolExecutor::~ThreadPoolExecutor() {
  state_->shutdown();
  state_->await_termination_uninterruptibly();
  state_->await_failed_threads();
  state_->retire();
}

void ThreadPoolExecutor::execute(Task task) { state_->execute(std::move(task), *this); }
void ThreadPoolExecutor::shutdown() { state_->shutdown(); }
std::vector<Task> ThreadPoolExecutor::shutdown_now() { return state_->shutdown_now(); }
bool ThreadPoolExecutor::is_shutdown() const noexcept { return state_->is_shutdown(); }
bool ThreadPoolExecutor::is_terminated() const noexcept { return state_->is_terminated(); }
bool ThreadPoolExecutor::await_termination(Deadline deadline) { return state_->await_termination(deadline); }
ThreadPoolExecutor::Counts ThreadPoolExecutor::counts() const { return state_->counts(); }

void ThreadPoolExecutor::ensure_worker() { state_->ensure_worker(); }
bool ThreadPoolExecutor::prestart_core_thread() { return state_->prestart(); }
std::size_t ThreadPoolExecutor::prestart_all_core_threads() {
  std::size_t started = 0;
  while (state_->prestart()) ++started;
  return started;
}

void ThreadPoolExecutor::set_core_pool_size(std::size_t size) {
  state_->resize(size, state_->maximum_size_.load());
}
std::size_t ThreadPoolExecutor::core_pool_size() const noexcept { return state_->core_size_.load(); }
void ThreadPoolExecutor::set_maximum_pool_size(std::size_t size) {
  state_->resize(state_->core_size_.load(), size);
}
std::size_t ThreadPoolExecutor::maximum_pool_size() const noexcept { return state_->maximum_size_.load(); }
void ThreadPoolExecutor::set_keep_alive_time(std::chrono::nanoseconds time) {
  state_->set_keep_alive(time, std::nullopt);
}
std::chrono::nanoseconds ThreadPoolExecutor::keep_alive_time() const noexcept {
  return state_->keep_alive_.load();
}
void ThreadPoolExecutor::allow_core_thread_time_out(bool on) { state_->set_keep_alive(std::nullopt, on); }
bool ThreadPoolExecutor::allows_core_thread_time_out() const noexcept {
  return state_->core_may_time_out_.load();
}
void ThreadPoolExecutor::set_rejection(Rejection rejection) { state_->set_rejection(rejection, nullptr); }
void ThreadPoolExecutor::set_rejection(RejectionHandler handler) {
  state_->set_rejection(std::nullopt, std::move(handler));
}
ThreadPoolExecutor::RejectionHandler ThreadPoolExecutor::rejection_handler() const {
  const std::lock_guard guard{state_->lock_};
  return state_->options_.on_rejected;
}
ThreadPoolExecutor::Rejection ThreadPoolExecutor::rejection() const noexcept {
  return state_->rejection_.load();
}
void ThreadPoolExecutor::set_thread_factory(ThreadFactory factory) {
  if (!factory) factory = platform_threads(name());
  const std::lock_guard guard{state_->lock_};
  state_->options_.factory = std::move(factory);
}
ThreadFactory ThreadPoolExecutor::thread_factory() const {
  const std::lock_guard guard{state_->lock_};
  return state_->options_.factory;
}
const std::string& ThreadPoolExecutor::name() const noexcept { return state_->options_.name; }

BlockingQueue<Task>& ThreadPoolExecutor::queue() const noexcept { return *state_->options_.queue; }
std::size_t ThreadPoolExecutor::purge() {
  return state_->remove_if([](const Task& task) { return task.is_cancelled(); });
}
bool ThreadPoolExecutor::remove_task_of(const detail::FutureCore* future) {
  return future != nullptr &&
         state_->remove_if([future](const Task& task) { return task.future() == future; }) > 0;
}
void ThreadPoolExecutor::reject(Task task) { state_->reject(task, *this); }

}  // namespace creel
