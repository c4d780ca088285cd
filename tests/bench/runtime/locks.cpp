#include "bench.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <atomic>
#include <mutex>
#include <thread>

// A counter under a lock, by as many threads as the metric's name says.

namespace creel::bench {
namespace {

template <typename Lock>
double millions_a_second(int threads) {
  Lock lock;
  std::uint64_t counter = 0;
  std::atomic<bool> stop{false};
  CountDownLatch go(1);
  std::vector<Thread> all;
  for (int i = 0; i < threads; ++i) {
    all.push_back(Thread::of_platform().start([&] {
      go.await();
      while (!stop.load(std::memory_order_relaxed)) {
        const std::lock_guard guard{lock};
        ++counter;
      }
    }));
  }
  const auto start = std::chrono::steady_clock::now();
  go.count_down();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  stop = true;
  for (const Thread& thread : all) thread.join();
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  return static_cast<double>(counter) / took.count();
}

}  // namespace

void locks(const Report& report) {
  for (const int threads : {1, 2, 8}) {
    const std::string metric = "lock.contended.t" + std::to_string(threads);
    if (!report.wants(metric)) continue;
    report.line(metric, "creel-monitor", millions_a_second<Monitor>(threads), "Mops/s");
    report.line(metric, "creel-reentrantlock", millions_a_second<ReentrantLock>(threads), "Mops/s");
  }
}

}  // namespace creel::bench
