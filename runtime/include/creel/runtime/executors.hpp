#pragma once

#include <creel/runtime/executor.hpp>
#include <creel/runtime/thread.hpp>

#include <cstddef>
#include <memory>
#include <string>

namespace creel::executors {

/// A pool of `threads` threads over an unbounded queue, named by `factory` ("pool-N-0" … if there is none).
std::unique_ptr<ExecutorService> new_fixed_thread_pool(std::size_t threads, ThreadFactory factory = {});

/// A new virtual thread for each task. `name` stands in dumps over its threads.
std::unique_ptr<ExecutorService> new_virtual_thread_per_task_executor(std::string name = "virtual-per-task");

/// A new thread from `factory` for each task.
std::unique_ptr<ExecutorService> new_thread_per_task_executor(ThreadFactory factory,
                                                              std::string name = "thread-per-task");

}  // namespace creel::executors
