// The contract of every BlockingQueue is tested in blocking_queue_test.cpp.
#include "creel_test/await_state.hpp"

#include <creel/runtime/linked_transfer_queue.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <limits>
#include <memory>
#include <vector>

using namespace std::chrono_literals;
using creel::LinkedTransferQueue;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("transfer waits until its element is taken, behind what put left") {
  for (const bool is_virtual : {false, true}) {
    LinkedTransferQueue<int> queue{"jobs"};
    queue.put(1);
    const Thread producer =
        (is_virtual ? Thread::of_virtual() : Thread::of_platform()).start([&] { queue.transfer(2); });
    await_state(producer, ThreadState::Waiting);
    CHECK(queue.size() == 2);
    CHECK(queue.remaining_capacity() == std::numeric_limits<std::size_t>::max());
    CHECK(queue.contains(2));
    CHECK(queue.take() == 1);
    CHECK(producer.is_alive());
    CHECK(queue.take() == 2);
    CHECK(producer.join(20s));
  }
}

TEST_CASE("consumers who wait are counted and served in their order") {
  LinkedTransferQueue<int> queue;
  CHECK_FALSE(queue.try_transfer(1));
  CHECK(queue.empty());
  CHECK_FALSE(queue.has_waiting_consumer());
  std::vector<Thread> consumers;
  std::vector<int> got(3);
  for (std::size_t i = 0; i < got.size(); ++i) {
    consumers.push_back(Thread::of_virtual().start([&queue, &mine = got[i]] { mine = *queue.take(); }));
    await_state(consumers.back(), ThreadState::Waiting);
    CHECK(queue.waiting_consumer_count() == i + 1);
  }
  queue.transfer(1);  // does not wait
  CHECK(queue.try_transfer(2));
  queue.put(3);
  for (const Thread& consumer : consumers) CHECK(consumer.join(20s));
  CHECK(got == std::vector<int>{1, 2, 3});
  CHECK(queue.waiting_consumer_count() == 0);
}

TEST_CASE("a transfer that nobody took is not in the queue") {
  LinkedTransferQueue<std::unique_ptr<int>> queue;
  auto element = std::make_unique<int>(5);
  CHECK_FALSE(queue.try_transfer(std::move(element)));
  CHECK_FALSE(queue.try_transfer(std::move(element), 2ms));
  CHECK(*element == 5);
  CHECK(queue.empty());
  const Thread producer = Thread::of_platform().start(
      [&] { CHECK_THROWS_AS(queue.transfer(std::make_unique<int>(6)), creel::InterruptedError); });
  await_state(producer, ThreadState::Waiting);
  CHECK(queue.size() == 1);
  producer.interrupt();
  CHECK(producer.join(20s));
  CHECK(queue.empty());
}

TEST_CASE("a removed element counts as taken, a closed queue gives transfers back") {
  LinkedTransferQueue<int> queue;
  queue.put(1);
  const Thread removed = Thread::of_virtual().start([&] { queue.transfer(2); });
  await_state(removed, ThreadState::Waiting);
  CHECK(queue.remove(2));
  CHECK(removed.join(20s));
  const Thread refused =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(queue.transfer(3), creel::RejectedError); });
  await_state(refused, ThreadState::Waiting);
  queue.close();
  CHECK(refused.join(20s));
  CHECK_FALSE(queue.try_transfer(4, 20s));
  CHECK(queue.take() == 1);
  CHECK(queue.take() == std::nullopt);
}
