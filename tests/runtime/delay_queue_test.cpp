// The contract of every BlockingQueue is tested in blocking_queue_test.cpp.
#include "creel_test/await_state.hpp"

#include <creel/runtime/delay_queue.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

using namespace std::chrono_literals;
using creel::Deadline;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

namespace {

struct Retry {
  Deadline when;
  int number = 0;
  Deadline deadline() const { return when; }
};

int timed_waiters(const std::vector<Thread>& threads) {
  int count = 0;
  for (const Thread& thread : threads) count += thread.state() == ThreadState::TimedWaiting ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("elements come out when they are due, the earliest first") {
  creel::DelayQueue<Retry> retries{"retries"};
  const auto start = Deadline::Clock::now();
  retries.put({Deadline(start + 40ms), 2});
  retries.put({Deadline(start + 20ms), 1});
  retries.put({Deadline(start + 24h), 3});
  CHECK(retries.size() == 3);
  CHECK(retries.remaining_capacity() == std::numeric_limits<std::size_t>::max());
  CHECK(retries.peek()->number == 1);
  CHECK(retries.poll() == std::nullopt);
  CHECK(retries.poll(Deadline(start + 1ms)) == std::nullopt);
  CHECK(retries.take()->number == 1);
  CHECK(Deadline::Clock::now() >= start + 20ms);
  CHECK(retries.poll(20s)->number == 2);
  CHECK(Deadline::Clock::now() >= start + 40ms);
  CHECK(retries.poll(5ms) == std::nullopt);
  CHECK(retries.remove_if([](const Retry& retry) { return retry.number == 3; }) == 1);
}

TEST_CASE("of those who wait one alone has a deadline, and an earlier element calls it") {
  creel::DelayQueue<Retry> retries{"retries"};
  std::atomic<int> sum{0};
  std::vector<Thread> takers;
  for (int i = 0; i < 4; ++i) {
    auto builder = i % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    takers.push_back(builder.start([&] {
      while (const std::optional<Retry> retry = retries.take()) sum += retry->number;
    }));
    await_state(takers.back(), ThreadState::Waiting);
  }
  retries.put({24h, 1000});
  while (timed_waiters(takers) != 1) Thread::yield();
  for (int i = 0; i < 20; ++i) {
    const int before = sum;
    retries.put({Deadline::now(), 1});
    while (sum == before) Thread::yield();
    while (timed_waiters(takers) != 1) Thread::yield();  // the lead was passed on
  }
  CHECK(sum == 20);
  retries.clear();
  retries.close();
  for (const Thread& taker : takers) CHECK(taker.join(20s));
}

TEST_CASE("a leader that is interrupted or gives up passes the lead on") {
  creel::DelayQueue<Retry> retries;
  const Thread leader =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(retries.take(), creel::InterruptedError); });
  await_state(leader, ThreadState::Waiting);
  retries.put({24h, 1});
  await_state(leader, ThreadState::TimedWaiting);
  const Thread follower = Thread::of_virtual().start([&] { CHECK(retries.take()->number == 2); });
  await_state(follower, ThreadState::Waiting);
  leader.interrupt();
  CHECK(leader.join(20s));
  await_state(follower, ThreadState::TimedWaiting);  // now it leads
  const Thread brief = Thread::of_platform().start([&] { CHECK(retries.poll(5ms) == std::nullopt); });
  CHECK(brief.join(20s));
  retries.put({1ms, 2});
  CHECK(follower.join(20s));
}

TEST_CASE("a closed delay queue still waits for what is left") {
  creel::DelayQueue<Retry> retries;
  std::vector<Thread> takers;
  std::atomic<int> got{0};
  for (int i = 0; i < 3; ++i) {
    takers.push_back(Thread::of_virtual().start([&] {
      while (retries.take()) ++got;
    }));
  }
  const auto due = Deadline::Clock::now() + 30ms;
  retries.put({Deadline(due), 1});
  retries.put({Deadline(due), 2});
  retries.close();
  CHECK_FALSE(retries.offer({Deadline::now(), 3}));
  for (const Thread& taker : takers) CHECK(taker.join(20s));
  CHECK(Deadline::Clock::now() >= due);
  CHECK(got == 2);
}

TEST_CASE("a projection or a pointer says when") {
  creel::DelayQueue<std::unique_ptr<Retry>> pointers;
  pointers.put(std::make_unique<Retry>(Retry{Deadline::now(), 4}));
  CHECK((*pointers.take())->number == 4);
  const auto when = [](int tens) { return Deadline(Deadline::Clock::time_point{} + 10s * tens); };
  creel::DelayQueue<int, decltype(when)> numbers{"numbers", when};
  for (const int i : {3, 1, 2}) numbers.put(i);
  for (const int i : {1, 2, 3}) CHECK(numbers.poll() == i);
}
