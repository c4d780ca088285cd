#include "bench.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <array>
#include <atomic>
#include <thread>

// Virtual threads: what one costs to make, to switch to, and to keep.

namespace creel::bench {
namespace {

constexpr int kMillion = 1'000'000;

std::string with_carriers(const char* peer, int carriers) { return peer + std::to_string(carriers); }

// Two threads that hand a turn to each other by park and unpark.
double park_ping_pong_ns(Thread::Builder& builder) {
  constexpr int kTurns = kMillion / 2;
  return best_ns(5,
                 [&] {
                   std::atomic<int> turn{0};
                   std::array<Thread, 2> threads;
                   CountDownLatch both_known(1);
                   for (int me = 0; me < 2; ++me) {
                     threads[static_cast<std::size_t>(me)] = builder.start([&, me] {
                       both_known.await();
                       const Blocker blocker{.object = &turn, .type = "creel::bench turn"};
                       for (int i = 0; i < kTurns; ++i) {
                         while (turn.load(std::memory_order_acquire) != me) LockSupport::park(blocker);
                         turn.store(1 - me, std::memory_order_release);
                         LockSupport::unpark(threads[static_cast<std::size_t>(1 - me)]);
                       }
                     });
                   }
                   both_known.count_down();
                   for (const Thread& thread : threads) thread.join();
                 }) /
         (2.0 * kTurns);
}

double queue_ping_pong_ns(Thread::Builder& builder) {
  constexpr int kTurns = kMillion / 2;
  return best_ns(4,
                 [&] {
                   ArrayBlockingQueue<int> there{1};
                   ArrayBlockingQueue<int> back{1};
                   const Thread first = builder.start([&] {
                     for (int i = 0; i < kTurns; ++i) {
                       there.put(i);
                       back.take();
                     }
                   });
                   const Thread second = builder.start([&] {
                     for (int i = 0; i < kTurns; ++i) back.put(*there.take());
                   });
                   first.join();
                   second.join();
                 }) /
         (2.0 * kTurns);
}

double yield_ns(Thread::Builder& builder) {
  const auto body = [] {
    for (int i = 0; i < kMillion; ++i) Thread::yield();
  };
  return best_ns(5,
                 [&] {
                   const Thread first = builder.start(body);
                   const Thread second = builder.start(body);
                   first.join();
                   second.join();
                 }) /
         (2.0 * kMillion);
}

double all_at_once_ns(Thread::Builder& builder, int count) {
  std::vector<Thread> threads(static_cast<std::size_t>(count));
  return best_ns(3,
                 [&] {
                   for (Thread& thread : threads) thread = builder.start([] {});
                   for (const Thread& thread : threads) thread.join();
                 }) /
         count;
}

}  // namespace

void create_and_join(const Report& report) {
  Thread::Builder builder = Thread::of_virtual();
  if (report.wants("vt.create_join.seq")) {
    constexpr int kCount = kMillion / 4;
    const double ns = best_ns(4, [&] {
      for (int i = 0; i < kCount; ++i) builder.start([] {}).join();
    });
    report.line("vt.create_join.seq", "creel", ns / kCount, "ns");
  }
  if (report.wants("vt.create_join.batch1000")) {
    std::array<Thread, 1000> threads;
    const double ns = best_ns(4, [&] {
      for (std::size_t batch = 0; batch < kMillion / threads.size(); ++batch) {
        for (Thread& thread : threads) thread = builder.start([] {});
        for (const Thread& thread : threads) thread.join();
      }
    });
    report.line("vt.create_join.batch1000", "creel", ns / kMillion, "ns");
  }
  if (report.wants("vt.create_join.all100k")) {
    report.line("vt.create_join.all100k", "creel", all_at_once_ns(builder, kMillion / 10), "ns");
  }
  if (report.wants("vt.create_join.all1M")) {
    report.line("vt.create_join.all1M", "creel", all_at_once_ns(builder, kMillion), "ns");
  }
}

void switches(const Report& report, int carriers) {
  Thread::Builder builder = Thread::of_virtual();
  if (report.wants("vt.pingpong")) {
    report.line("vt.pingpong", with_carriers("creel-p", carriers), park_ping_pong_ns(builder), "ns/handoff");
    report.line("vt.pingpong", with_carriers("creel-queue-p", carriers), queue_ping_pong_ns(builder),
                "ns/handoff");
  }
  if (report.wants("vt.yield")) {
    report.line("vt.yield", with_carriers("creel-p", carriers), yield_ns(builder), "ns/switch");
  }
}

void parked(const Report& report) {
  constexpr int kThreads = 100'000;
  CountDownLatch gate(1, "gate");
  std::atomic<int> begun{0};
  std::vector<Thread> threads(kThreads);
  Thread::Builder builder = Thread::of_virtual();
  builder.start([] {}).join();  // the carriers are not the parked threads' memory
  const double before = resident_bytes();
  for (Thread& thread : threads) {
    thread = builder.start([&] {
      begun.fetch_add(1, std::memory_order_relaxed);
      gate.await();
    });
  }
  while (begun.load(std::memory_order_relaxed) != kThreads ||
         threads.back().state() != ThreadState::Waiting) {
    std::this_thread::yield();
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  report.line("vt.parked100k", "creel", (resident_bytes() - before) / kThreads, "bytes/vthread");
  if (report.wants("vt.dump100k")) {
    const Diagnostics diagnostics({.name = "creel-bench-runtime"});  // reads running threads too
    const auto take = [] { keep(ThreadDump::take()); };
    report.line("vt.dump100k", "creel", best_ns(2, take) / 1e6, "ms");
    report.line("vt.dump100k", "creel-stopped", longest_gap_ms(8, take), "ms");
  }
  gate.count_down();
  for (const Thread& thread : threads) thread.join();
}

}  // namespace creel::bench
