#include "container_scope.hpp"
#include "executor_gauges.hpp"
#include "failed_threads.hpp"
#include "scope_exit.hpp"
#include "task_queue.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread_pool_executor.hpp>

#include <atomic>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <unordered_map>

namespace creel::executors {
namespace {

class ThreadPerTaskExecutor final : public ExecutorService {
 public:
  ThreadPerTaskExecutor(ThreadFactory factory, std::string name)
      : factory_(std::move(factory)), state_(std::make_shared<State>()) {
    state_->container = ThreadContainer::create(name, "creel::ThreadPerTaskExecutor");
    if (name.empty()) return;
    gauges_.emplace(name);
    gauges_->add("active", [&state = *state_] { return state.active.load(std::memory_order_relaxed); });
    gauges_->add("completed", [&state = *state_] { return state.completed.load(std::memory_order_relaxed); });
  }

  ~ThreadPerTaskExecutor() override {
    shutdown();
    std::vector<Thread> failed;
    {
      const std::lock_guard guard{state_->lock};
      while (!state_->threads.empty()) state_->ended.await_uninterruptibly();
      failed = state_->failed.take();
    }
    detail::join_uninterruptibly(failed);
  }

  void execute(Task task) override {
    // std::function, which thread factories take, must be copyable.
    auto shared = std::make_shared<Task>(std::move(task));
    const std::lock_guard guard{state_->lock};  // the thread cannot sign off before it is on the list
    if (state_->is_shutdown)
      throw RejectedError("the executor \"" + state_->container->name() + "\" is shut down");
    const Thread thread = detail::start_in(*state_->container, factory_, [state = state_, shared] {
      bool has_failed = true;
      const detail::ScopeExit at_end([&] { state->sign_off(has_failed); });
      (*shared)();
      has_failed = false;
      shared->reset();
    });
    state_->threads.emplace(thread.id(), thread);
    state_->count();
  }

  void shutdown() override {
    const std::lock_guard guard{state_->lock};
    state_->is_shutdown = true;
    state_->ended.signal_all();
  }

  std::vector<Task> shutdown_now() override {
    shutdown();
    const std::lock_guard guard{state_->lock};
    for (const auto& [id, thread] : state_->threads) thread.interrupt();
    return {};
  }

  bool is_shutdown() const noexcept override {
    const std::lock_guard guard{state_->lock};
    return state_->is_shutdown;
  }
  bool is_terminated() const noexcept override {
    const std::lock_guard guard{state_->lock};
    return state_->is_terminated();
  }
  bool await_termination(Deadline deadline) override {
    const std::lock_guard guard{state_->lock};
    return state_->ended.await([this] { return state_->is_terminated(); }, deadline);
  }

 private:
  // Shared with the threads: the last one may still be in sign_off() when the executor is destroyed.
  struct State {
    ReentrantLock lock;
    Condition ended{lock};
    std::unordered_map<std::uint64_t, Thread> threads;
    detail::FailedThreads failed;
    bool is_shutdown = false;
    std::shared_ptr<ThreadContainer> container;

    // Written under the lock, read without by the gauges.
    std::atomic<std::int64_t> active{0};
    std::atomic<std::int64_t> completed{0};

    bool is_terminated() const noexcept { return is_shutdown && threads.empty(); }
    void count() noexcept {
      active.store(static_cast<std::int64_t>(threads.size()), std::memory_order_relaxed);
    }
    void sign_off(bool has_failed) noexcept {
      const std::lock_guard guard{lock};
      if (has_failed) failed.add(Thread::current());
      threads.erase(Thread::current().id());
      completed.store(completed.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      count();
      if (threads.empty()) ended.signal_all();
    }
  };

  ThreadFactory factory_;
  std::shared_ptr<State> state_;
  std::optional<detail::ExecutorGauges> gauges_;
};

}  // namespace

std::unique_ptr<ExecutorService> new_fixed_thread_pool(std::size_t threads, ThreadFactory factory) {
  return std::make_unique<ThreadPoolExecutor>(
      ThreadPoolExecutor::Options{.core_size = threads, .factory = std::move(factory)});
}

std::unique_ptr<ExecutorService> new_single_thread_executor(ThreadFactory factory) {
  return new_fixed_thread_pool(1, std::move(factory));
}

std::unique_ptr<ExecutorService> new_cached_thread_pool(ThreadFactory factory) {
  return std::make_unique<ThreadPoolExecutor>(ThreadPoolExecutor::Options{
      .core_size = 0,
      .maximum_size = std::numeric_limits<std::size_t>::max(),
      .queue = std::make_shared<detail::TaskQueue>("", detail::TaskQueue::Mode::HandsOff),
      .factory = std::move(factory)});
}

std::unique_ptr<ScheduledExecutorService> new_scheduled_thread_pool(std::size_t threads,
                                                                    ThreadFactory factory) {
  return std::make_unique<ScheduledThreadPoolExecutor>(
      ScheduledThreadPoolExecutor::Options{.core_size = threads, .factory = std::move(factory)});
}

std::unique_ptr<ScheduledExecutorService> new_single_thread_scheduled_executor(ThreadFactory factory) {
  return new_scheduled_thread_pool(1, std::move(factory));
}

std::unique_ptr<ExecutorService> new_virtual_thread_per_task_executor(std::string name) {
  return new_thread_per_task_executor(Thread::of_virtual().factory(), std::move(name));
}

std::unique_ptr<ExecutorService> new_thread_per_task_executor(ThreadFactory factory, std::string name) {
  return std::make_unique<ThreadPerTaskExecutor>(std::move(factory), std::move(name));
}

}  // namespace creel::executors
