#include "thread_record.hpp"

#include <creel/runtime/monitor.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <vector>

using namespace std::chrono_literals;
using creel::Monitor;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("a monitor excludes, is reentrant and knows its owner") {
  Monitor monitor{"accounts"};
  long counter = 0;
  std::vector<Thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.push_back(Thread::of_platform().start([&] {
      for (int i = 0; i < 20000; ++i) {
        creel::synchronized(monitor, [&] { creel::synchronized(monitor, [&] { ++counter; }); });
      }
    }));
  }
  for (const Thread& thread : threads) thread.join();
  CHECK(counter == 80000);
  CHECK_FALSE(monitor.is_held_by_current_thread());
  CHECK_THROWS_AS(monitor.unlock(), creel::Error);
  CHECK_THROWS_AS(monitor.notify_one(), creel::Error);
  CHECK_THROWS_AS(monitor.wait(1ms), creel::Error);
}

TEST_CASE("a thread that waits to enter is BLOCKED on the monitor's owner; the owner shows it as held") {
  Monitor monitor{"gate"};
  monitor.lock();
  const creel::detail::ThreadRecord& self = creel::detail::current_record();
  REQUIRE(self.own().held_count == 1);
  const auto& held = self.own().held[0];
  CHECK(std::string(held.type.load()) == "creel::Monitor");
  CHECK(std::string(held.name.load()) == "gate");
  CHECK(held.monitor.load());
  // Inside the frame of this function: above what it calls, below its caller.
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  CHECK(held.stack_pointer.load() <= here);
  CHECK(held.stack_pointer.load() + 65536 > here);

  Thread entering = Thread::of_platform().start([&] { creel::synchronized(monitor, [] {}); });
  await_state(entering, ThreadState::Blocked);
  CHECK(entering.record()->park_site.kind == creel::WaitKind::MonitorEnter);
  CHECK((entering.record()->park_site.owner.load()->load() & ~creel::detail::kOwnerFlag) == self.id);
  CHECK(entering.record()->park_site.object.load() == held.object.load());
  entering.interrupt();  // does not end a lock()
  CHECK_FALSE(entering.join(10ms));
  monitor.unlock();
  CHECK(self.own().held_count == 0);
  CHECK(entering.join(20s));
}

TEST_CASE("try_lock takes a free monitor, keeps its deadline and answers interrupt") {
  Monitor monitor;
  CHECK(monitor.try_lock());
  CHECK(monitor.try_lock());
  std::atomic<bool> waits_long{false};
  Thread other = Thread::of_platform().start([&] {
    CHECK_FALSE(monitor.try_lock());
    CHECK_FALSE(monitor.try_lock(5ms));
    waits_long = true;
    CHECK_THROWS_AS(monitor.try_lock(1h), creel::InterruptedError);
    CHECK_FALSE(Thread::interrupted());
  });
  while (!waits_long) Thread::yield();
  other.interrupt();
  CHECK(other.join(20s));
  monitor.unlock();
  monitor.unlock();
}

TEST_CASE("wait leaves the monitor, however often entered, and a notify ends it") {
  Monitor monitor;
  bool ready = false;
  std::atomic<bool> met{false};
  Thread waiter = Thread::of_platform().start([&] {
    const std::scoped_lock guard{monitor};
    creel::synchronized(monitor, [&] { met = monitor.wait([&] { return ready; }, 1h); });
    CHECK(monitor.is_held_by_current_thread());
  });
  await_state(waiter, ThreadState::TimedWaiting);
  CHECK(waiter.record()->park_site.kind == creel::WaitKind::MonitorWait);
  CHECK(waiter.record()->own().held_count == 0);
  creel::synchronized(monitor, [&] {
    ready = true;
    monitor.notify_one();
  });
  CHECK(waiter.join(20s));
  CHECK(met);
}

TEST_CASE("a wait that times out says so and holds the monitor; an interrupted one throws") {
  Monitor monitor;
  const std::scoped_lock guard{monitor};
  CHECK_FALSE(monitor.wait(5ms));
  CHECK(monitor.is_held_by_current_thread());
  CHECK_FALSE(monitor.wait([] { return false; }, 5ms));
  Thread::current().interrupt();
  CHECK_THROWS_AS(monitor.wait(), creel::InterruptedError);
  CHECK(monitor.is_held_by_current_thread());
  CHECK_FALSE(Thread::interrupted());
}

TEST_CASE("notify_all wakes a crowd, in order of arrival for notify_one") {
  Monitor monitor;
  std::vector<int> order;
  std::vector<Thread> threads;
  for (int t = 0; t < 20; ++t) {
    threads.push_back(Thread::of_platform().start([&, t] {
      const std::scoped_lock guard{monitor};
      monitor.wait();
      order.push_back(t);
    }));
    await_state(threads.back(), ThreadState::Waiting);
  }
  for (int t = 0; t < 5; ++t) {
    creel::synchronized(monitor, [&] { monitor.notify_one(); });
    threads[static_cast<std::size_t>(t)].join();
  }
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
  creel::synchronized(monitor, [&] { monitor.notify_all(); });
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(order.size() == 20);
}

TEST_CASE("a notify is not lost to a waiter that is interrupted or times out at the same moment") {
  for (int round = 0; round < 300; ++round) {
    Monitor monitor;
    int tokens = 0;
    std::atomic<int> taken{0};
    const auto take = [&] {
      const std::scoped_lock guard{monitor};
      try {
        if (!monitor.wait([&] { return tokens > 0; },
                          creel::Deadline(std::chrono::microseconds(round * 7 % 500))))
          return;
      } catch (const creel::InterruptedError&) {
        return;
      }
      --tokens;
      ++taken;
    };
    Thread first = Thread::of_platform().start(take);
    Thread second = Thread::of_platform().start([&] {
      const std::scoped_lock guard{monitor};
      monitor.wait([&] { return tokens > 0; });
      --tokens;
      ++taken;
    });
    creel::synchronized(monitor, [&] {
      ++tokens;
      monitor.notify_one();
    });
    first.interrupt();
    first.join();
    creel::synchronized(monitor, [&] {  // one more: whoever is left is served
      ++tokens;
      monitor.notify_one();
    });
    CHECK(second.join(20s));
    CHECK(taken + tokens == 2);
  }
}

TEST_CASE("a monitor may be destroyed by the thread that is last to hold it") {
  for (int round = 0; round < 300; ++round) {
    auto monitor = std::make_unique<Monitor>();
    int arrived = 0;
    Thread other = Thread::of_platform().start([&, m = monitor.get()] {
      const std::scoped_lock guard{*m};
      ++arrived;
    });
    for (bool last = false; !last;) {
      const std::scoped_lock guard{*monitor};
      last = arrived == 1;
    }
    monitor.reset();
    other.join();
  }
}
