#include "bench.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/deadlock.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <atomic>
#include <cstdio>
#include <latch>
#include <mutex>
#include <thread>

// Dumps and deadlock searches over many parked threads.

namespace creel::bench {
namespace {

constexpr int kDepth = 20;

// Kept from becoming a loop: the depth is what is measured.
[[gnu::noinline]] int park_deep(int depth, std::atomic<int>& begun, CountDownLatch& gate) {
  if (depth == 0) {
    begun.fetch_add(1);
    gate.await();
    return 0;
  }
  const int below = park_deep(depth - 1, begun, gate);
  asm volatile("" ::: "memory");
  return below + 1;
}

// Threads that are parked 20 calls deep as long as it lives.
class ParkedThreads {
 public:
  ParkedThreads(Thread::Builder builder, int count) {
    for (int i = 0; i < count; ++i) {
      threads_.push_back(builder.start([this] { park_deep(kDepth, begun_, gate_); }));
    }
    for (const Thread& thread : threads_) {
      while (thread.state() != ThreadState::Waiting) std::this_thread::yield();
    }
  }
  ~ParkedThreads() {
    gate_.count_down();
    for (const Thread& thread : threads_) thread.join();
  }
  ParkedThreads(const ParkedThreads&) = delete;
  ParkedThreads& operator=(const ParkedThreads&) = delete;

 private:
  std::atomic<int> begun_{0};
  CountDownLatch gate_{1, "gate"};
  std::vector<Thread> threads_;
};

}  // namespace

double longest_gap_ms(int times, const std::function<void()>& body) {
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> longest{0};
  std::atomic<std::uint64_t> looks{0};
  // Its next look ends the gap in which it may be now.
  const auto await_look = [&] {
    const std::uint64_t before = looks.load(std::memory_order_acquire);
    while (looks.load(std::memory_order_acquire) == before) std::this_thread::yield();
  };
  const Thread watch = Thread::of_platform().name("watch").start([&] {
    auto last = std::chrono::steady_clock::now();
    while (!stop.load(std::memory_order_relaxed)) {
      const auto now = std::chrono::steady_clock::now();
      const std::int64_t gap = (now - last).count();
      if (gap > longest.load(std::memory_order_relaxed)) longest.store(gap, std::memory_order_relaxed);
      last = now;
      looks.fetch_add(1, std::memory_order_release);
    }
  });
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i < times; ++i) {
    await_look();
    longest = 0;
    body();
    await_look();
    best = std::min(best, static_cast<double>(longest.load()) / 1e6);
  }
  stop = true;
  watch.join();
  return best;
}

void dumps(const Report& report, int threads) {
  const Diagnostics diagnostics({.name = "creel-bench-runtime"});  // reads running threads, answers jstack
  const ParkedThreads parked(Thread::of_platform().name("worker-", 0).stack_size(512 << 10), threads);
  const std::string prefix = "dump." + std::to_string(threads);
  if (report.wants(prefix + ".inprocess")) {
    report.line(prefix + ".inprocess", "creel-dump", best_ns(30, [] { keep(ThreadDump::take()); }) / 1e6,
                "ms");
    report.line(prefix + ".inprocess", "creel-text",
                best_ns(30, [] { keep(ThreadDump::take().to_text()); }) / 1e6, "ms");
    report.line(prefix + ".inprocess", "creel-find_deadlocks",
                best_ns(30, [] { keep(find_deadlocks()); }) / 1e6, "ms");
  }
  if (report.wants(prefix + ".stopped")) {
    report.line(prefix + ".stopped", "creel", longest_gap_ms(50, [] { keep(ThreadDump::take()); }), "ms");
  }
  std::puts("ready");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}

void deadlocks(const Report& report) {
  if (report.wants("deadlock.1000")) {
    const ParkedThreads platform(Thread::of_platform().stack_size(512 << 10), 500);
    const ParkedThreads virtual_ones(Thread::of_virtual(), 500);
    report.line("deadlock.1000", "creel", best_ns(50, [] { keep(find_deadlocks()); }) / 1e6, "ms");
  }
  if (!report.wants("deadlock.foreign")) return;
  constexpr int kBlocked = 64;
  const double without = best_ns(50, [] { keep(find_deadlocks()); });
  std::mutex foreign;
  std::unique_lock holding{foreign};
  std::latch begun(kBlocked);
  std::vector<Thread> blocked;
  for (int i = 0; i < kBlocked; ++i) {
    blocked.push_back(Thread::of_platform().start([&] {
      begun.count_down();
      const std::lock_guard guard{foreign};
    }));
  }
  begun.wait();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // no state tells of a wait in foreign code
  const double with = best_ns(50, [] { keep(find_deadlocks()); });
  report.line("deadlock.foreign", "creel", (with - without) / 1e3 / kBlocked, "us/thread");
  holding.unlock();
  for (const Thread& thread : blocked) thread.join();
}

}  // namespace creel::bench
