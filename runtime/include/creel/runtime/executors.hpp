#pragma once

#include <creel/runtime/executor.hpp>
#include <creel/runtime/scheduled_executor.hpp>
#include <creel/runtime/thread.hpp>

#include <cstddef>
#include <memory>
#include <string>

/// java.util.concurrent.Executors. A factory left empty gives platform threads named after the pool. To give
/// a pool a name, and more, make a ThreadPoolExecutor, ScheduledThreadPoolExecutor or ForkJoinPool.
namespace creel::executors {

/// A pool of `threads` threads over an unbounded queue, named by `factory` ("pool-N-0" … if there is none).
std::unique_ptr<ExecutorService> new_fixed_thread_pool(std::size_t threads, ThreadFactory factory = {});

/// One thread, replaced if a task ends it: tasks run one after the other, in the order in which they came.
std::unique_ptr<ExecutorService> new_single_thread_executor(ThreadFactory factory = {});

/// A thread for each task that finds none idle; a thread without work for a minute ends. For many short tasks
/// that wait; their number is not bounded.
std::unique_ptr<ExecutorService> new_cached_thread_pool(ThreadFactory factory = {});

/// `threads` threads for delayed and periodic work.
std::unique_ptr<ScheduledExecutorService> new_scheduled_thread_pool(std::size_t threads,
                                                                    ThreadFactory factory = {});
std::unique_ptr<ScheduledExecutorService> new_single_thread_scheduled_executor(ThreadFactory factory = {});

/// A new virtual thread for each task. `name` stands in dumps over its threads, and in the counters
/// `creel.executor.<name>.active` and `.completed`.
std::unique_ptr<ExecutorService> new_virtual_thread_per_task_executor(std::string name = "virtual-per-task");

/// A new thread from `factory` for each task.
std::unique_ptr<ExecutorService> new_thread_per_task_executor(ThreadFactory factory,
                                                              std::string name = "thread-per-task");

/// A ForkJoinPool of `parallelism` threads (0: as many as the process may use processors), each with a queue
/// of its own, from which the others steal. First in, first out in each; no order over all.
std::unique_ptr<ExecutorService> new_work_stealing_pool(std::size_t parallelism = 0);

/// ForkJoinPool::common(): where stages of a CompletableFuture run if they name no executor.
Executor& common_pool();

}  // namespace creel::executors
