// The contract of every BlockingQueue is tested in blocking_queue_test.cpp.
#include "creel_test/await_state.hpp"

#include <creel/runtime/synchronous_queue.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>

#include <iterator>
#include <memory>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::SynchronousQueue;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;
using Fairness = SynchronousQueue<int>::Fairness;

TEST_CASE("an element goes from hand to hand, and nothing is ever inside") {
  for (const Fairness fairness : {Fairness::Unfair, Fairness::Fair}) {
    SynchronousQueue<int> door{"door", fairness};
    CHECK(door.is_fair() == (fairness == Fairness::Fair));
    CHECK_FALSE(door.offer(1));
    CHECK_FALSE(door.offer(1, 2ms));
    CHECK(door.poll() == std::nullopt);
    CHECK(door.poll(2ms) == std::nullopt);
    for (const bool is_virtual : {false, true}) {
      const auto builder = [&] { return is_virtual ? Thread::of_virtual() : Thread::of_platform(); };
      const Thread putter = builder().start([&] { door.put(7); });
      await_state(putter, ThreadState::Waiting);
      CHECK(creel::ThreadDump::take().find(putter.id())->wait->on.name == "door, no taker");
      CHECK(door.empty());
      CHECK(door.peek() == std::nullopt);
      CHECK_FALSE(door.contains(7));
      CHECK_FALSE(door.remove(7));
      CHECK(door.remove_if([](int) { return true; }) == 0);
      CHECK(door.snapshot().empty());
      door.for_each([](int) { FAIL("an element inside"); });
      CHECK(door.size() == 0);
      CHECK(door.remaining_capacity() == 0);
      door.clear();
      CHECK_FALSE(door.offer(8));  // another putter is no taker
      std::vector<int> drained;
      CHECK(door.drain_to(std::back_inserter(drained)) == 1);  // takes from who puts
      CHECK(drained == std::vector<int>{7});
      CHECK(putter.join(20s));
      int got = 0;
      const Thread taker = builder().start([&] { got = *door.take(); });
      await_state(taker, ThreadState::Waiting);
      CHECK(creel::ThreadDump::take().find(taker.id())->wait->on.name == "door, empty");
      CHECK(door.offer(9));
      CHECK(taker.join(20s));
      CHECK(got == 9);
    }
  }
}

TEST_CASE("a fair door serves the first who came, the other one the last") {
  for (const Fairness fairness : {Fairness::Unfair, Fairness::Fair}) {
    SynchronousQueue<int> door{"door", fairness};
    std::vector<Thread> putters;
    for (int i = 0; i < 4; ++i) {
      putters.push_back(Thread::of_virtual().start([&door, i] { door.put(i); }));
      await_state(putters.back(), ThreadState::Waiting);
    }
    for (int i = 0; i < 4; ++i) CHECK(door.take() == (fairness == Fairness::Fair ? i : 3 - i));
    for (const Thread& putter : putters) CHECK(putter.join(20s));
  }
}

TEST_CASE("who gives up at a door leaves no trace, and keeps the element") {
  SynchronousQueue<std::unique_ptr<int>> door;
  const Thread putter = Thread::of_platform().start([&] {
    auto element = std::make_unique<int>(1);
    CHECK_THROWS_AS(door.offer(std::move(element), 20s), creel::InterruptedError);
    CHECK(*element == 1);
    CHECK_FALSE(door.offer(std::move(element), 1ms));
    CHECK(*element == 1);
  });
  await_state(putter, ThreadState::TimedWaiting);
  putter.interrupt();
  CHECK(putter.join(20s));
  CHECK(door.poll() == std::nullopt);
}

TEST_CASE("closing a door refuses putters and sends takers away") {
  SynchronousQueue<int> door;
  const Thread putter =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(door.put(1), creel::RejectedError); });
  const Thread other = Thread::of_virtual().start([&] { CHECK_FALSE(door.offer(1, 20s)); });
  await_state(putter, ThreadState::Waiting);
  await_state(other, ThreadState::TimedWaiting);
  door.close();
  CHECK(putter.join(20s));
  CHECK(other.join(20s));
  CHECK(door.take() == std::nullopt);
  SynchronousQueue<int> second;
  const Thread taker = Thread::of_virtual().start([&] { CHECK(second.take() == std::nullopt); });
  await_state(taker, ThreadState::Waiting);
  second.close();
  CHECK(taker.join(20s));
  CHECK_THROWS_AS(second.put(1), creel::RejectedError);
}
