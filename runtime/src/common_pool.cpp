#include <creel/runtime/executors.hpp>
#include <creel/runtime/fork_join_pool.hpp>

namespace creel::executors {

Executor& common_pool() { return ForkJoinPool::common(); }

std::unique_ptr<ExecutorService> new_work_stealing_pool(std::size_t parallelism) {
  return std::make_unique<ForkJoinPool>(ForkJoinPool::Options{.parallelism = parallelism, .async = true});
}

}  // namespace creel::executors
