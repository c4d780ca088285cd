#include "bench.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/fork_join_pool.hpp>
#include <creel/runtime/thread_pool_executor.hpp>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <thread>

// A task's way to an executor and its result's way back.

namespace creel::bench {
namespace {

constexpr int kRoundTrips = 20'000;
constexpr int kBatch = 1'000'000;

double round_trip_ns(ExecutorService& pool) {
  return best_ns(12,
                 [&] {
                   for (int i = 0; i < kRoundTrips; ++i) {
                     if (pool.submit([i] { return i + 1; }).get() != i + 1) std::abort();
                   }
                 }) /
         kRoundTrips;
}

double batch_ns(ExecutorService& pool) {
  return best_ns(5,
                 [&] {
                   CountDownLatch done(kBatch);
                   for (int i = 0; i < kBatch; ++i) pool.execute([&done] { done.count_down(); });
                   done.await();
                 }) /
         kBatch;
}

// One task that submits its successor: a worker that is never idle.
struct Chain {
  ExecutorService& pool;
  std::atomic<bool> stop{false};
  CountDownLatch ended{1};

  void next() {
    pool.execute([this] {
      if (stop.load(std::memory_order_relaxed)) {
        ended.count_down();
      } else {
        next();
      }
    });
  }
};

double busy_round_trip_ns(ExecutorService& pool) {
  Chain chain{pool};
  chain.next();
  const double ns = round_trip_ns(pool);
  chain.stop = true;
  chain.ended.await();
  return ns;
}

// What the pool's threads use up when they had work just now and have none any more, in % of one processor.
double idle_cpu_percent() {
  const auto cpu_ns = [] {
    timespec used{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return static_cast<double>(used.tv_sec) * 1e9 + static_cast<double>(used.tv_nsec);
  };
  const double before = cpu_ns();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  return (cpu_ns() - before) / 1e9 * 100;
}

}  // namespace

void submit(const Report& report) {
  {
    ThreadPoolExecutor pool({.core_size = 2, .name = "bench"});
    if (report.wants("submit.roundtrip")) {
      report.line("submit.roundtrip", "creel", round_trip_ns(pool), "ns");
      report.line("submit.roundtrip", "creel-busy", busy_round_trip_ns(pool), "ns");
    }
    if (report.wants("submit.batch1M")) report.line("submit.batch1M", "creel", batch_ns(pool), "ns/task");
    if (report.wants("submit.idle_cpu")) {
      for (int i = 0; i < 1000; ++i) pool.submit([] {}).get();
      report.line("submit.idle_cpu", "creel", idle_cpu_percent(), "%");
    }
  }
  {
    ForkJoinPool pool(2);
    if (report.wants("submit.roundtrip")) {
      report.line("submit.roundtrip", "creel-fjp", round_trip_ns(pool), "ns");
    }
    if (report.wants("submit.batch1M")) report.line("submit.batch1M", "creel-fjp", batch_ns(pool), "ns/task");
  }
  if (report.wants("submit.roundtrip")) {  // all of it on virtual threads, as a Go program has it
    ThreadPoolExecutor pool(
        {.core_size = 2, .factory = Thread::of_virtual().name("bench-", 0).factory(), .name = "bench"});
    const Thread caller = Thread::of_virtual().name("caller").start(
        [&] { report.line("submit.roundtrip", "creel-virtual", round_trip_ns(pool), "ns"); });
    caller.join();
  }
}

}  // namespace creel::bench
