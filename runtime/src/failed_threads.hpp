#pragma once

#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <utility>
#include <vector>

namespace creel::detail {

/// The threads of an executor that end by what a task threw. They have signed off when their
/// uncaught-exception handlers run; whoever destroys the executor waits for these too, since they may use
/// what was made before it, and the program may end after it. Guarded by the executor's lock.
class FailedThreads {
 public:
  void add(const Thread& thread) {
    std::erase_if(threads_, [](const Thread& each) { return !each.is_alive(); });
    threads_.push_back(thread);
  }
  std::vector<Thread> take() noexcept { return std::exchange(threads_, {}); }

 private:
  std::vector<Thread> threads_;
};

/// Not to be interrupted; the calling thread's flag is kept. A handler that destroys its own executor does
/// not wait for itself.
inline void join_uninterruptibly(const std::vector<Thread>& threads) {
  bool is_interrupted = false;
  for (const Thread& thread : threads) {
    for (bool has_ended = thread == Thread::current(); !has_ended;) {
      try {
        has_ended = thread.join();
      } catch (const InterruptedError&) {
        is_interrupted = true;
      }
    }
  }
  if (is_interrupted) Thread::current().interrupt();
}

}  // namespace creel::detail
