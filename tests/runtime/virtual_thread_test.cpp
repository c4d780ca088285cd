#include "creel_test/sanitizer.hpp"
#include "thread_record.hpp"
#include "virtual_scheduler.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cfenv>
#include <memory>
#include <set>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadState;

namespace {

void await_state(const Thread& thread, ThreadState state) {
  while (thread.state() != state) Thread::yield();
}

}  // namespace

TEST_CASE("a virtual thread runs on a carrier, with an identity of its own") {
  std::uint64_t inside_id = 0;
  std::string carrier_name;
  Thread thread = Thread::of_virtual().name("session-", 4).start([&] {
    inside_id = Thread::current().id();
    const std::uint64_t carrier = creel::detail::current_record().carrier;
    carrier_name = creel::detail::ThreadRegistry::instance().find(carrier)->name();
  });
  CHECK(thread.join());
  CHECK(thread.is_virtual());
  CHECK(thread.is_daemon());
  CHECK(thread.name() == "session-4");
  CHECK(inside_id == thread.id());
  CHECK(carrier_name.rfind("carrier-", 0) == 0);
  CHECK(thread.state() == ThreadState::Terminated);
}

TEST_CASE("a parked virtual thread is published like any other, and off its carrier") {
  std::atomic<bool> go{false};
  Thread thread = Thread::of_virtual().start([&] {
    while (!go) creel::LockSupport::park({.object = &go, .type = "creel::Test", .name = "gate"});
  });
  const creel::detail::ThreadRecord& record = *thread.record();
  while (record.permit != creel::detail::ThreadRecord::kParked) Thread::yield();
  CHECK(thread.state() == ThreadState::Waiting);
  CHECK(record.park_site.epoch % 2 == 1);
  CHECK(record.park_site.object.load() == &go);
  CHECK(record.carrier == 0);
  CHECK(record.os_tid == 0);
  CHECK(record.park_site.registers.rsp > record.stack_low);
  CHECK(record.park_site.registers.rsp < record.stack_high);
  CHECK(record.stack_high - record.stack_low == 64 * 1024);
  go = true;
  creel::LockSupport::unpark(thread);
  CHECK(thread.join(20s));
}

TEST_CASE("far more virtual threads than carriers wait for each kind of thing at once") {
  creel::Monitor monitor;
  creel::ReentrantLock lock;
  creel::Condition condition{lock};
  creel::ArrayBlockingQueue<int> queue(4);
  creel::CountDownLatch latch(1);
  bool open = false;
  std::atomic<int> done{0};
  std::vector<Thread> threads;
  monitor.lock();
  for (int i = 0; i < 50; ++i) {
    const auto start = [&](auto body) {
      threads.push_back(Thread::of_virtual().start([&done, body] {
        body();
        ++done;
      }));
    };
    start([&] { creel::synchronized(monitor, [] {}); });
    start([&] {
      const std::scoped_lock guard{lock};
      condition.await([&] { return open; });
    });
    start([&] { queue.take(); });
    start([&] { latch.await(); });
    start([&] { Thread::sleep(20ms); });
    start([&, other = threads[0]] { other.join(); });
  }
  for (std::size_t i = 0; i < threads.size(); ++i) {
    if (i % 6 != 4) {
      while (threads[i].record()->permit != creel::detail::ThreadRecord::kParked) Thread::yield();
    }
  }
  // With all of these blocked there is still a carrier for this one.
  CHECK(Thread::of_virtual().start([] {}).join(20s));
  monitor.unlock();
  latch.count_down();
  {
    const std::scoped_lock guard{lock};
    open = true;
    condition.signal_all();
  }
  for (int i = 0; i < 50; ++i) queue.put(i);
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(done == 300);
}

TEST_CASE("interrupt ends the waits of a virtual thread") {
  Thread sleeper =
      Thread::of_virtual().start([] { CHECK_THROWS_AS(Thread::sleep(1h), creel::InterruptedError); });
  await_state(sleeper, ThreadState::TimedWaiting);
  sleeper.interrupt();
  CHECK(sleeper.join(20s));
}

TEST_CASE("sleep lasts at least as long as asked, in the order of the deadlines") {
  std::vector<Thread> threads;
  creel::Monitor monitor;
  std::vector<int> order;
  const auto start = creel::Deadline::Clock::now();
  for (const int ms : {60, 20, 40}) {
    threads.push_back(Thread::of_virtual().start([&, ms] {
      Thread::sleep(creel::Deadline(start + std::chrono::milliseconds(ms)));
      CHECK(creel::Deadline::Clock::now() - start >= std::chrono::milliseconds(ms));
      creel::synchronized(monitor, [&] { order.push_back(ms); });
    }));
  }
  for (const Thread& thread : threads) thread.join();
  CHECK(std::set<int>(order.begin(), order.end()).size() == 3);
}

TEST_CASE("yield lets the others on the carrier run") {
  // As many spinning threads as there are carriers would shut out the rest if yield did nothing.
  std::atomic<bool> stop{false};
  std::vector<Thread> spinners;
  for (int i = 0; i < 64; ++i) {
    spinners.push_back(Thread::of_virtual().start([&] {
      while (!stop) Thread::yield();
    }));
  }
  Thread last = Thread::of_virtual().start([&] { stop = true; });
  CHECK(last.join(20s));
  for (const Thread& thread : spinners) CHECK(thread.join(20s));
}

TEST_CASE("each virtual thread keeps its own rounding mode, of both units") {
  constexpr std::array modes{FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  std::atomic<int> kept{0};
  std::vector<Thread> threads;
  for (std::size_t i = 0; i < 4 * modes.size(); ++i) {
    threads.push_back(Thread::of_virtual().start([&, mode = modes[i % modes.size()]] {
      std::fesetround(mode);
      int wrong = 0;
      for (int round = 0; round < 200; ++round) {
        if (round % 10 == 0) {
          Thread::sleep(10us);
        } else {
          Thread::yield();
        }
        const unsigned sse = (__builtin_ia32_stmxcsr() >> 13) & 3;
        if (std::fegetround() != mode || sse != static_cast<unsigned>(mode) >> 10) ++wrong;
      }
      if (wrong == 0) ++kept;
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(kept == static_cast<int>(threads.size()));
  CHECK(std::fegetround() == FE_TONEAREST);
}

TEST_CASE("a monitor passes between platform and virtual threads") {
  creel::Monitor monitor;
  long counter = 0;
  std::vector<Thread> threads;
  for (int t = 0; t < 6; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&] {
      for (int i = 0; i < 5000; ++i) creel::synchronized(monitor, [&] { ++counter; });
    }));
  }
  for (const Thread& thread : threads) thread.join();
  CHECK(counter == 30000);
}

TEST_CASE("exceptions in flight stay with their virtual thread over a park") {
  constexpr int kThreads = 40;
  std::atomic<int> right{0};
  creel::CountDownLatch all_inside(kThreads);
  std::vector<Thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.push_back(Thread::of_virtual().start([&, i] {
      struct WhileUnwinding {
        ~WhileUnwinding() {
          Thread::yield();
          unwinding = std::uncaught_exceptions();
        }
        int& unwinding;
      };
      int unwinding = 0;
      try {
        const WhileUnwinding guard{unwinding};
        throw std::runtime_error(std::to_string(i));
      } catch (const std::runtime_error& error) {
        all_inside.count_down();
        all_inside.await();  // parks inside the catch block, all of them at once
        for (int k = 0; k < 10; ++k) Thread::yield();
        try {
          throw;  // the current exception of this thread, not of the one before on the carrier
        } catch (const std::runtime_error& again) {
          if (again.what() == std::to_string(i) && &again == &error && unwinding == 1) ++right;
        }
      }
      if (std::uncaught_exceptions() != 0) --right;
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(right == kThreads);
}

TEST_CASE("blocking() publishes itself, compensates its carrier and passes results and exceptions") {
  std::atomic<bool> release{false};
  std::vector<Thread> blockers;
  // More than there are carriers, each holding on to its own.
  for (int i = 0; i < 8; ++i) {
    blockers.push_back(Thread::of_virtual().start([&] {
      creel::blocking("read a slow disk", [&] {
        while (!release) ::sched_yield();
      });
    }));
  }
  for (const Thread& thread : blockers) {
    while (thread.record()->park_site.epoch % 2 == 0) Thread::yield();
    CHECK(thread.record()->park_site.kind == creel::WaitKind::External);
    CHECK(std::string(thread.record()->park_site.name.load()) == "read a slow disk");
  }
  CHECK(Thread::of_virtual().start([] {}).join(20s));
  release = true;
  for (const Thread& thread : blockers) CHECK(thread.join(20s));

  CHECK(creel::blocking("add", [] { return 42; }) == 42);
  int value = 1;
  creel::blocking("refer", [&]() -> int& { return value; }) = 7;
  CHECK(value == 7);
  CHECK_THROWS_AS(creel::blocking("fail", [] { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(creel::detail::current_record().park_site.epoch % 2 == 0);
  CHECK(Thread::current().state() == ThreadState::Runnable);
}

TEST_CASE("a wait inside blocking() stands in for it and gives the place back") {
  creel::ArrayBlockingQueue<int> queue(1);
  std::atomic<bool> back{false};
  std::atomic<bool> finish{false};
  Thread thread = Thread::of_platform().start([&] {
    creel::blocking("outer", [&] {
      queue.take();
      back = true;
      while (!finish) Thread::yield();
    });
  });
  const auto& site = thread.record()->park_site;
  while (site.kind != creel::WaitKind::Parking || site.epoch % 2 == 0) Thread::yield();
  CHECK(site.object.load() == &queue);
  queue.put(1);
  while (!back) Thread::yield();
  CHECK(site.epoch % 2 == 1);
  CHECK(site.kind == creel::WaitKind::External);
  CHECK(std::string(site.name.load()) == "outer");
  CHECK(site.registers.rsp > thread.record()->stack_low);
  finish = true;
  thread.join();
}

TEST_CASE("an uncaught exception of a virtual thread goes to its handler") {
  std::atomic<bool> handled{false};
  Thread thread = Thread::of_virtual()
                      .uncaught_exception_handler([&](const Thread&, std::exception_ptr) { handled = true; })
                      .start([] { throw std::runtime_error("lost"); });
  thread.join();
  CHECK(handled);
}

TEST_CASE("100,000 virtual threads at once, all parked, then all woken") {
  const int count = creel_test::kThreadSanitizer ? 2'000 : 100'000;
  creel::CountDownLatch gate(1, "gate");
  creel::CountDownLatch arrived(static_cast<std::uint64_t>(count));
  std::atomic<int> sum{0};
  std::vector<Thread> threads;
  threads.reserve(static_cast<std::size_t>(count));
  auto builder = Thread::of_virtual();
  for (int i = 0; i < count; ++i) {
    threads.push_back(builder.start([&] {
      arrived.count_down();
      gate.await();
      sum.fetch_add(1, std::memory_order_relaxed);
    }));
  }
  REQUIRE(arrived.await(60s));
  CHECK(creel::detail::ThreadRegistry::instance().counts().virtual_live >= static_cast<std::uint64_t>(count));
  gate.count_down();
  for (const Thread& thread : threads) REQUIRE(thread.join(60s));
  CHECK(sum == count);
  CHECK(creel::detail::ThreadRegistry::instance().counts().virtual_live == 0);
}

TEST_SUITE("slow") {
  // A million where there is the memory for it: a page of stack and about 1.1 KiB of record each.
  TEST_CASE("1,000,000 virtual threads at once") {
    const std::uint64_t room = static_cast<std::uint64_t>(::sysconf(_SC_AVPHYS_PAGES)) *
                               static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) / 8192;
    const std::uint64_t limit = creel_test::kThreadSanitizer    ? 4'000
                                : creel_test::kAddressSanitizer ? 50'000
                                                                : 1'000'000;
    const std::uint64_t count = std::min(limit, room);
    MESSAGE(count, " virtual threads");
    creel::CountDownLatch gate(1);
    creel::CountDownLatch arrived(count);
    creel::CountDownLatch left(count);
    auto builder = Thread::of_virtual();
    for (std::uint64_t i = 0; i < count; ++i) {
      builder.start([&] {
        arrived.count_down();
        gate.await();
        left.count_down();
      });
    }
    REQUIRE(arrived.await(300s));
    gate.count_down();
    REQUIRE(left.await(300s));
  }
}

TEST_CASE("a queue of a carrier: order, bound, stealing of half") {
  using creel::detail::CarrierQueue;
  using creel::detail::VirtualThread;
  CarrierQueue queue;
  CarrierQueue thief;
  const auto fake = [](std::uintptr_t i) { return reinterpret_cast<VirtualThread*>(64 * i); };
  for (std::uintptr_t i = 1; i <= 256; ++i) CHECK(queue.push(fake(i)));
  CHECK_FALSE(queue.push(fake(257)));
  CHECK(queue.pop() == fake(1));
  CHECK(queue.steal(thief, false) == fake(129));  // of 255 the first 128, of which the last is returned
  CHECK(thief.size() == 127);
  CHECK(thief.pop() == fake(2));
  CHECK(queue.size() == 127);
  CHECK(queue.pop() == fake(130));
}
