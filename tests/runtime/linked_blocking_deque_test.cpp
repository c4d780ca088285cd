// The contract of every BlockingQueue is tested in blocking_queue_test.cpp.
#include "creel_test/await_state.hpp"

#include <creel/runtime/linked_blocking_deque.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

using namespace std::chrono_literals;
using creel::LinkedBlockingDeque;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("a deque has two ends") {
  CHECK_THROWS_AS(LinkedBlockingDeque<int>(0), creel::Error);
  LinkedBlockingDeque<int> deque(4, "tasks");
  CHECK(deque.peek_first() == std::nullopt);
  CHECK(deque.peek_last() == std::nullopt);
  deque.put_first(2);
  deque.put_last(3);
  CHECK(deque.offer_first(1));
  CHECK(deque.offer_last(4));
  CHECK_FALSE(deque.offer_first(0));
  CHECK_FALSE(deque.offer_last(5, 2ms));
  CHECK(deque.snapshot() == std::vector<int>{1, 2, 3, 4});
  CHECK(deque.snapshot_descending() == std::vector<int>{4, 3, 2, 1});
  int digits = 0;
  deque.for_each_descending([&](int element) { digits = 10 * digits + element; });
  CHECK(digits == 4321);
  CHECK(deque.peek_first() == 1);
  CHECK(deque.peek_last() == 4);
  CHECK(deque.take_first() == 1);
  CHECK(deque.take_last() == 4);
  CHECK(deque.poll_last() == 3);
  CHECK(deque.poll_first(20s) == 2);
  CHECK(deque.poll_last(2ms) == std::nullopt);
  CHECK(deque.poll_first() == std::nullopt);
}

TEST_CASE("occurrences are removed from the end that is named") {
  LinkedBlockingDeque<int> deque;
  for (const int i : {1, 2, 1, 3, 1}) deque.put(i);
  CHECK(deque.remove_last_occurrence(1));
  CHECK(deque.snapshot() == std::vector<int>{1, 2, 1, 3});
  CHECK(deque.remove_first_occurrence(1));
  CHECK(deque.snapshot() == std::vector<int>{2, 1, 3});
  CHECK(deque.remove_last_occurrence(2));
  CHECK(deque.remove_last_occurrence(1));
  CHECK_FALSE(deque.remove_last_occurrence(1));
  CHECK_FALSE(deque.remove_first_occurrence(1));
  CHECK(deque.snapshot() == std::vector<int>{3});
}

TEST_CASE("each end waits, wakes, is interrupted and is closed as the other") {
  for (const bool is_virtual : {false, true}) {
    const auto builder = [&] { return is_virtual ? Thread::of_virtual() : Thread::of_platform(); };
    LinkedBlockingDeque<int> deque(1, "tasks");
    std::optional<int> got;
    const Thread taker = builder().start([&] { got = deque.take_last(); });
    await_state(taker, ThreadState::Waiting);
    deque.put_first(1);
    CHECK(taker.join(20s));
    CHECK(got == 1);
    deque.put(2);
    const Thread putter = builder().start([&] { deque.put_first(3); });
    await_state(putter, ThreadState::Waiting);
    CHECK(deque.take_last() == 2);
    CHECK(putter.join(20s));
    CHECK(deque.peek() == 3);
    const Thread interrupted =
        builder().start([&] { CHECK_THROWS_AS(deque.put_first(4), creel::InterruptedError); });
    await_state(interrupted, ThreadState::Waiting);
    interrupted.interrupt();
    CHECK(interrupted.join(20s));
    const Thread refused =
        builder().start([&] { CHECK_THROWS_AS(deque.put_first(4), creel::RejectedError); });
    await_state(refused, ThreadState::Waiting);
    deque.close();
    CHECK(refused.join(20s));
    CHECK(deque.take_last() == 3);
    CHECK(deque.take_last() == std::nullopt);
    CHECK(deque.take_first() == std::nullopt);
  }
}

TEST_CASE("owners and thieves at the two ends lose nothing") {
  LinkedBlockingDeque<int> deque(16);
  std::atomic<long> sum{0};
  std::vector<Thread> thieves;
  for (int t = 0; t < 3; ++t) {
    thieves.push_back((t == 0 ? Thread::of_platform() : Thread::of_virtual()).start([&] {
      while (const auto element = deque.take_last()) sum += *element;
    }));
  }
  long expected = 0;
  for (int i = 1; i <= 5000; ++i) {
    deque.put_first(i);
    expected += i;
    if (i % 3 == 0) {
      if (const auto own = deque.poll_first()) sum += *own;
    }
  }
  deque.close();
  for (const Thread& thief : thieves) CHECK(thief.join(60s));
  CHECK(sum == expected);
}
