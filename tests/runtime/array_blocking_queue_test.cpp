#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <numeric>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;

// One suite for every BlockingQueue: the contract is the interface's.
TEST_CASE_TEMPLATE("a blocking queue", Queue, creel::ArrayBlockingQueue<int>,
                   creel::LinkedBlockingQueue<int>) {
  Queue queue(2, "numbers");

  SUBCASE("keeps order and its bound") {
    queue.put(1);
    CHECK(queue.offer(2));
    CHECK_FALSE(queue.offer(3));
    CHECK_FALSE(queue.offer(3, 5ms));
    CHECK(queue.size() == 2);
    CHECK(queue.remaining_capacity() == 0);
    CHECK(queue.take() == 1);
    CHECK(queue.poll() == 2);
    CHECK(queue.poll() == std::nullopt);
    CHECK(queue.poll(5ms) == std::nullopt);
  }
  SUBCASE("put waits for room, take for an element") {
    queue.put(1);
    queue.put(2);
    Thread producer = Thread::of_platform().start([&] { queue.put(3); });
    while (producer.state() != creel::ThreadState::Waiting) Thread::yield();
    CHECK(queue.take() == 1);
    CHECK(producer.join(20s));
    queue.take();
    queue.take();
    std::optional<int> got;
    Thread consumer = Thread::of_platform().start([&] { got = queue.take(); });
    while (consumer.state() != creel::ThreadState::Waiting) Thread::yield();
    queue.put(9);
    CHECK(consumer.join(20s));
    CHECK(got == 9);
  }
  SUBCASE("closing drains takers and refuses putters, also those that wait") {
    queue.put(1);
    queue.put(2);
    Thread producer =
        Thread::of_platform().start([&] { CHECK_THROWS_AS(queue.put(3), creel::RejectedError); });
    while (producer.state() != creel::ThreadState::Waiting) Thread::yield();
    queue.close();
    queue.close();
    CHECK(producer.join(20s));
    CHECK_FALSE(queue.offer(4));
    std::vector<int> rest;
    for (int element : queue) rest.push_back(element);
    CHECK(rest == std::vector<int>{1, 2});
    CHECK(queue.take() == std::nullopt);
  }
  SUBCASE("an interrupt ends a wait and loses nothing") {
    Thread consumer =
        Thread::of_platform().start([&] { CHECK_THROWS_AS(queue.take(), creel::InterruptedError); });
    while (consumer.state() != creel::ThreadState::Waiting) Thread::yield();
    consumer.interrupt();
    CHECK(consumer.join(20s));
    queue.put(5);
    CHECK(queue.take() == 5);
  }
  SUBCASE("drain_to takes what is there, up to the limit") {
    queue.put(1);
    queue.put(2);
    std::vector<int> out;
    CHECK(queue.drain_to(std::back_inserter(out), 1) == 1);
    CHECK(queue.drain_to(std::back_inserter(out)) == 1);
    CHECK(out == std::vector<int>{1, 2});
  }
}

TEST_CASE_TEMPLATE("every element is taken once by many producers and consumers", Queue,
                   creel::ArrayBlockingQueue<std::unique_ptr<int>>,
                   creel::LinkedBlockingQueue<std::unique_ptr<int>>) {
  constexpr int kThreads = 4;
  constexpr int kEach = 5000;
  Queue queue(8);
  std::vector<Thread> producers, consumers;
  std::vector<std::vector<int>> taken(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    producers.push_back(Thread::of_platform().start([&queue, t] {
      for (int i = 0; i < kEach; ++i) queue.put(std::make_unique<int>(t * kEach + i));
    }));
    consumers.push_back(Thread::of_platform().start([&queue, &mine = taken[static_cast<std::size_t>(t)]] {
      for (std::unique_ptr<int>& element : queue) mine.push_back(*element);
    }));
  }
  for (const Thread& thread : producers) thread.join();
  queue.close();
  for (const Thread& thread : consumers) thread.join();
  std::vector<int> all;
  for (const auto& mine : taken) {
    for (int t = 0; t < kThreads; ++t) {  // one producer's elements arrive in order at each consumer
      int last = -1;
      for (const int element : mine) {
        if (element / kEach != t) continue;
        CHECK(element > last);
        last = element;
      }
    }
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<int> expected(kThreads * kEach);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(all == expected);
}

TEST_CASE("an ArrayBlockingQueue without room is refused") {
  CHECK_THROWS_AS(creel::ArrayBlockingQueue<int>(0), creel::Error);
  CHECK_THROWS_AS(creel::LinkedBlockingQueue<int>(0), creel::Error);
}
