// One suite for every BlockingQueue: the contract is the interface's. What a queue has of its own is tested
// in the file with its name.
#include "creel_test/await_state.hpp"
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/delay_queue.hpp>
#include <creel/runtime/linked_blocking_deque.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/linked_transfer_queue.hpp>
#include <creel/runtime/priority_blocking_queue.hpp>
#include <creel/runtime/synchronous_queue.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <ranges>
#include <span>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

namespace {

struct AlwaysDue {
  template <typename T>
  creel::Deadline operator()(const T&) const {
    return creel::Deadline(creel::Deadline::Clock::time_point{});
  }
};
struct LessPointee {
  bool operator()(const std::unique_ptr<int>& a, const std::unique_ptr<int>& b) const { return *a < *b; }
};

// Each queue as the suites make it: with room for `capacity` elements where there is a bound.
template <typename T>
struct Array {
  creel::ArrayBlockingQueue<T> queue;
  explicit Array(std::size_t capacity) : queue(capacity, "numbers") {}
};
template <typename T>
struct Linked {
  creel::LinkedBlockingQueue<T> queue;
  explicit Linked(std::size_t capacity) : queue(capacity, "numbers") {}
};
template <typename T>
struct Deque {
  creel::LinkedBlockingDeque<T> queue;
  explicit Deque(std::size_t capacity) : queue(capacity, "numbers") {}
};
template <typename T>
struct Transfer {
  creel::LinkedTransferQueue<T> queue{"numbers"};
  explicit Transfer(std::size_t) {}
};
template <typename T, typename Compare = std::less<T>>
struct Priority {
  creel::PriorityBlockingQueue<T, Compare> queue{"numbers"};
  explicit Priority(std::size_t) {}
};
template <typename T>
struct Delay {
  creel::DelayQueue<T, AlwaysDue> queue{"numbers"};
  explicit Delay(std::size_t) {}
};
struct FairSynchronous {
  creel::SynchronousQueue<std::unique_ptr<int>> queue{
      "numbers", creel::SynchronousQueue<std::unique_ptr<int>>::Fairness::Fair};
  explicit FairSynchronous(std::size_t) {}
};
struct UnfairSynchronous {
  creel::SynchronousQueue<std::unique_ptr<int>> queue{"numbers"};
  explicit UnfairSynchronous(std::size_t) {}
};

template <typename Body>
Thread start(bool is_virtual, Body body) {
  return (is_virtual ? Thread::of_virtual() : Thread::of_platform()).start(std::move(body));
}

std::string waits_on(const Thread& thread) {
  const creel::ThreadDump dump = creel::ThreadDump::take();
  const creel::ThreadInfo* info = dump.find(thread.id());
  if (info == nullptr || !info->wait) return "nothing";
  return std::string(info->wait->on.type) + " " + info->wait->on.name;
}

}  // namespace

TEST_CASE_TEMPLATE("a bounded queue", Made, Array<int>, Linked<int>, Deque<int>) {
  Made made(2);
  auto& queue = made.queue;

  SUBCASE("keeps order and its bound") {
    queue.put(1);
    CHECK(queue.remaining_capacity() == 1);
    CHECK(queue.offer(2));
    CHECK_FALSE(queue.offer(3));
    CHECK_FALSE(queue.offer(3, 5ms));
    CHECK(queue.size() == 2);
    CHECK(queue.remaining_capacity() == 0);
    CHECK(queue.take() == 1);
    CHECK(queue.poll() == 2);
    CHECK(queue.poll() == std::nullopt);
    CHECK(queue.poll(5ms) == std::nullopt);
    CHECK(queue.empty());
  }
  SUBCASE("an offer that fails leaves the element alone") {
    Array<std::unique_ptr<int>> full(1);
    full.queue.put(std::make_unique<int>(1));
    auto element = std::make_unique<int>(2);
    CHECK_FALSE(full.queue.offer(std::move(element)));
    CHECK_FALSE(full.queue.offer(std::move(element), 2ms));
    full.queue.close();
    CHECK_FALSE(full.queue.offer(std::move(element), 20s));
    CHECK(*element == 2);
  }
  SUBCASE("put waits for room, on both kinds of threads, and a dump says for what") {
    for (const bool is_virtual : {false, true}) {
      queue.put(1);
      queue.put(2);
      const Thread producer = start(is_virtual, [&] { queue.put(3); });
      await_state(producer, ThreadState::Waiting);
      CHECK(waits_on(producer).find("numbers, full") != std::string::npos);
      CHECK(queue.take() == 1);
      CHECK(producer.join(20s));
      CHECK(queue.take() == 2);
      CHECK(queue.take() == 3);
    }
  }
  SUBCASE("removing makes room for those who wait") {
    queue.put(1);
    queue.put(2);
    const Thread first = start(false, [&] { queue.put(3); });
    const Thread second = start(true, [&] { queue.put(4); });
    await_state(first, ThreadState::Waiting);
    await_state(second, ThreadState::Waiting);
    CHECK_FALSE(queue.remove(7));
    CHECK(queue.remove(1));
    queue.clear();
    CHECK(first.join(20s));
    CHECK(second.join(20s));
    queue.clear();
    CHECK(queue.empty());
  }
  SUBCASE("closing refuses putters, also those that wait") {
    queue.put(1);
    queue.put(2);
    const Thread producer = start(false, [&] { CHECK_THROWS_AS(queue.put(3), creel::RejectedError); });
    const Thread offers = start(true, [&] { CHECK_FALSE(queue.offer(3, 20s)); });
    await_state(producer, ThreadState::Waiting);
    await_state(offers, ThreadState::TimedWaiting);
    queue.close();
    CHECK(producer.join(20s));
    CHECK(offers.join(20s));
  }
  SUBCASE("an interrupt ends a put") {
    queue.put(1);
    queue.put(2);
    const Thread producer = start(false, [&] { CHECK_THROWS_AS(queue.put(3), creel::InterruptedError); });
    await_state(producer, ThreadState::Waiting);
    producer.interrupt();
    CHECK(producer.join(20s));
    CHECK(queue.snapshot() == std::vector<int>{1, 2});
  }
}

TEST_CASE_TEMPLATE("a queue", Made, Array<int>, Linked<int>, Deque<int>, Transfer<int>, Priority<int>,
                   Delay<int>) {
  Made made(8);
  auto& queue = made.queue;

  SUBCASE("take and a timed poll wait for an element, and a dump says so") {
    for (const bool is_virtual : {false, true}) {
      std::optional<int> got;
      const Thread taker = start(is_virtual, [&] { got = queue.take(); });
      await_state(taker, ThreadState::Waiting);
      CHECK(waits_on(taker).find("numbers, ") != std::string::npos);
      queue.put(9);
      CHECK(taker.join(20s));
      CHECK(got == 9);
      const Thread poller = start(is_virtual, [&] { got = queue.poll(20s); });
      await_state(poller, ThreadState::TimedWaiting);
      CHECK(queue.offer(10));
      CHECK(poller.join(20s));
      CHECK(got == 10);
      CHECK(queue.poll(2ms) == std::nullopt);
    }
  }
  SUBCASE("closing gives out what is left and wakes all takers") {
    std::vector<Thread> takers;
    for (int i = 0; i < 4; ++i) {
      takers.push_back(start(i % 2 == 0, [&] { CHECK(queue.take() == std::nullopt); }));
      await_state(takers.back(), ThreadState::Waiting);
    }
    CHECK_FALSE(queue.is_closed());
    queue.close();
    queue.close();
    for (const Thread& taker : takers) CHECK(taker.join(20s));
    CHECK(queue.is_closed());
    CHECK_THROWS_AS(queue.put(1), creel::RejectedError);
    CHECK_FALSE(queue.offer(1));
    CHECK_FALSE(queue.offer(1, 20s));
    Made other(8);
    other.queue.put(1);
    other.queue.put(2);
    other.queue.close();
    std::vector<int> rest;
    for (int element : other.queue) rest.push_back(element);
    std::sort(rest.begin(), rest.end());
    CHECK(rest == std::vector<int>{1, 2});
    CHECK(other.queue.take() == std::nullopt);
  }
  SUBCASE("an interrupt ends a wait and loses nothing") {
    for (const bool is_virtual : {false, true}) {
      const Thread taker = start(is_virtual, [&] { CHECK_THROWS_AS(queue.take(), creel::InterruptedError); });
      await_state(taker, ThreadState::Waiting);
      taker.interrupt();
      CHECK(taker.join(20s));
      const Thread poller =
          start(is_virtual, [&] { CHECK_THROWS_AS(queue.poll(20s), creel::InterruptedError); });
      await_state(poller, ThreadState::TimedWaiting);
      poller.interrupt();
      CHECK(poller.join(20s));
    }
    queue.put(5);
    CHECK(queue.take() == 5);
  }
  SUBCASE("an interrupted thread may still look and drain; only waiting throws") {
    const Thread thread = start(false, [&] {
      Thread::current().interrupt();
      CHECK(queue.poll() == std::nullopt);
      CHECK(queue.offer(1));
      std::vector<int> out;
      CHECK(queue.drain_to(std::back_inserter(out)) == 1);
      CHECK(Thread::current().is_interrupted());
      CHECK_THROWS_AS(queue.take(), creel::InterruptedError);
      CHECK_FALSE(Thread::current().is_interrupted());
    });
    CHECK(thread.join(20s));
  }
  SUBCASE("drain_to takes what is there, up to the limit") {
    queue.put(1);
    queue.put(1);
    std::vector<int> out;
    CHECK(queue.drain_to(std::back_inserter(out), 0) == 0);
    CHECK(queue.drain_to(std::back_inserter(out), 1) == 1);
    CHECK(queue.drain_to(std::back_inserter(out)) == 1);
    CHECK(queue.drain_to(std::back_inserter(out)) == 0);
    CHECK(out == std::vector<int>{1, 1});
  }
  SUBCASE("looking takes nothing; removing takes what it names") {
    CHECK(queue.peek() == std::nullopt);
    for (const int element : {1, 2, 3, 4, 2}) queue.put(element);
    CHECK(queue.contains(4));
    CHECK_FALSE(queue.contains(5));
    std::vector<int> seen = queue.snapshot();
    REQUIRE(seen.size() == 5);
    CHECK(seen.front() == queue.peek());
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector<int>{1, 2, 2, 3, 4});
    int sum = 0;
    queue.for_each([&](int element) { sum += element; });
    CHECK(sum == 12);
    CHECK(queue.size() == 5);
    CHECK_FALSE(queue.remove(5));
    CHECK(queue.remove(2));
    CHECK(queue.size() == 4);
    CHECK(queue.remove_if([](int element) { return element % 2 == 1; }) == 2);
    CHECK(queue.size() == 2);
    CHECK_FALSE(queue.contains(3));
    queue.put(0);  // what is left is a queue still
    std::vector<int> rest;
    queue.drain_to(std::back_inserter(rest));
    std::sort(rest.begin(), rest.end());
    CHECK(rest == std::vector<int>{0, 2, 4});
    queue.put(1);
    queue.clear();
    CHECK(queue.empty());
    CHECK(queue.poll() == std::nullopt);
  }
  SUBCASE("a predicate that throws removes nothing") {
    for (const int element : {1, 2, 3}) queue.put(element);
    const auto fails = [](int element) { return element == 3 ? throw creel::Error("3") : element == 1; };
    if constexpr (std::is_same_v<Made, Linked<int>> || std::is_same_v<Made, Deque<int>>) {
      CHECK_THROWS_AS(queue.remove_if(fails), creel::Error);
      CHECK(queue.contains(3));
    } else {
      CHECK_THROWS_AS(queue.remove_if(fails), creel::Error);
      CHECK(queue.size() == 3);
      CHECK(queue.contains(1));
    }
    queue.put(4);
    CHECK(queue.contains(4));
  }
}

TEST_CASE_TEMPLATE("every element is taken once by many producers and consumers", Made,
                   Array<std::unique_ptr<int>>, Linked<std::unique_ptr<int>>, Deque<std::unique_ptr<int>>,
                   Transfer<std::unique_ptr<int>>, FairSynchronous, UnfairSynchronous) {
  constexpr int kThreads = 4;
  constexpr int kEach = creel_test::kThreadSanitizer ? 1000 : 4000;
  Made made(8);
  auto& queue = made.queue;
  std::vector<Thread> producers, consumers;
  std::vector<std::vector<int>> taken(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    producers.push_back(start(t % 2 == 0, [&queue, t] {
      for (int i = 0; i < kEach; ++i) queue.put(std::make_unique<int>(t * kEach + i));
    }));
    consumers.push_back(start(t % 2 == 1, [&queue, &mine = taken[static_cast<std::size_t>(t)]] {
      for (std::unique_ptr<int>& element : queue) mine.push_back(*element);
    }));
  }
  for (const Thread& thread : producers) CHECK(thread.join(60s));
  queue.close();
  for (const Thread& thread : consumers) CHECK(thread.join(60s));
  std::vector<int> all;
  for (const auto& mine : taken) {
    std::vector<int> last(kThreads, -1);  // one producer's elements arrive in order at each consumer
    for (const int element : mine) {
      int& before = last[static_cast<std::size_t>(element / kEach)];
      CHECK(element > before);
      before = element;
    }
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<int> expected(kThreads * kEach);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(all == expected);
}

TEST_CASE_TEMPLATE("nothing is lost or doubled while waits are interrupted and time out", Made,
                   Array<std::unique_ptr<int>>, Linked<std::unique_ptr<int>>, Deque<std::unique_ptr<int>>,
                   Transfer<std::unique_ptr<int>>, FairSynchronous, UnfairSynchronous,
                   Priority<std::unique_ptr<int>, LessPointee>, Delay<std::unique_ptr<int>>) {
  constexpr int kElements = 600;
  Made made(2);
  auto& queue = made.queue;
  std::atomic<long> put{0}, took{0};
  std::vector<Thread> producers, consumers;
  for (int t = 0; t < 2; ++t) {
    producers.push_back(start(t == 0, [&, t] {
      for (int i = 1; i <= kElements;) {
        auto element = std::make_unique<int>(i);
        try {
          if (queue.offer(std::move(element), std::chrono::microseconds(i % 3 * 100))) {
            put += i++;
          } else {
            REQUIRE(element != nullptr);  // a refused one is still ours
            if (t == 1) Thread::yield();
          }
        } catch (const creel::InterruptedError&) {
          REQUIRE(element != nullptr);
        }
      }
    }));
    consumers.push_back(start(t == 1, [&] {
      for (;;) {
        try {
          if (const auto element = queue.poll(200us)) {
            took += **element;
          } else if (queue.is_closed()) {
            return;
          }
        } catch (const creel::InterruptedError&) {
        }
      }
    }));
  }
  for (const Thread& producer : producers) {
    while (!producer.join(1ms)) {
      for (const Thread& thread : producers) thread.interrupt();
      for (const Thread& thread : consumers) thread.interrupt();
    }
  }
  queue.close();
  for (const Thread& consumer : consumers) CHECK(consumer.join(60s));
  CHECK(put == took);
  CHECK(put == 2L * kElements * (kElements + 1) / 2);
}

TEST_CASE("queues begin with the elements of a range, copied, or moved out of a temporary one") {
  const std::vector<int> numbers{3, 1, 2};
  const creel::ArrayBlockingQueue<int> array{3, creel::from_range, numbers, "numbers"};
  CHECK(array.snapshot() == numbers);
  CHECK(array.remaining_capacity() == 0);
  const creel::LinkedBlockingQueue<int> linked{creel::from_range, numbers, "numbers"};
  CHECK(linked.snapshot() == numbers);
  CHECK(linked.remaining_capacity() == std::numeric_limits<std::size_t>::max());
  const creel::LinkedBlockingDeque<int> deque{creel::from_range, numbers | std::views::reverse};
  CHECK(deque.snapshot_descending() == numbers);
  CHECK(deque.remaining_capacity() == std::numeric_limits<std::size_t>::max());
  const creel::LinkedTransferQueue<int> transfer{creel::from_range, numbers};
  CHECK(transfer.snapshot() == numbers);
  creel::PriorityBlockingQueue<int> priority{creel::from_range, numbers};
  CHECK(priority.take() == 1);
  creel::DelayQueue<int, AlwaysDue> delay{creel::from_range, std::span{numbers}};
  CHECK(delay.size() == 3);
  CHECK(numbers == std::vector{3, 1, 2});

  std::vector<std::unique_ptr<int>> pointers;
  pointers.push_back(std::make_unique<int>(7));
  creel::LinkedBlockingQueue<std::unique_ptr<int>> moved{creel::from_range, std::move(pointers)};
  CHECK(**moved.take() == 7);
  CHECK_THROWS_AS((creel::ArrayBlockingQueue<int>{2, creel::from_range, numbers}), creel::Error);
}
