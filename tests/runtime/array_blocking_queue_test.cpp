// The contract of every BlockingQueue is tested in blocking_queue_test.cpp.
#include "creel_test/await_state.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;

TEST_CASE("a queue without room is refused") {
  CHECK_THROWS_AS(creel::ArrayBlockingQueue<int>(0), creel::Error);
  CHECK_THROWS_AS(creel::LinkedBlockingQueue<int>(0), creel::Error);
}

TEST_CASE("removing from a ring that has gone round keeps the order of the rest") {
  creel::ArrayBlockingQueue<int> queue(4);
  for (int i = 0; i < 3; ++i) {
    queue.put(i);
    queue.take();
  }
  for (int i = 0; i < 4; ++i) queue.put(i);
  CHECK(queue.remove_if([](int i) { return i == 0 || i == 2; }) == 2);
  CHECK(queue.snapshot() == std::vector<int>{1, 3});
  queue.put(5);
  queue.put(6);
  CHECK_FALSE(queue.offer(7));
  CHECK(queue.snapshot() == std::vector<int>{1, 3, 5, 6});
}

TEST_CASE("what is removed may use the queue as it is destroyed") {
  struct Nosy {
    creel::ArrayBlockingQueue<std::shared_ptr<Nosy>>* queue;
    int* seen;
    ~Nosy() { *seen = static_cast<int>(queue->snapshot().size()); }
  };
  int seen = -1;
  creel::ArrayBlockingQueue<std::shared_ptr<Nosy>> queue(2);
  queue.put(std::make_shared<Nosy>(&queue, &seen));
  const Thread other = Thread::of_platform().start([&] { queue.clear(); });
  CHECK(other.join(20s));
  CHECK(seen == 0);
}

TEST_CASE("a fair queue serves waiting producers in their order") {
  creel::ArrayBlockingQueue<int> queue(1, "fair", creel::ReentrantLock::Fairness::Fair);
  queue.put(0);
  std::vector<Thread> producers;
  for (int i = 1; i <= 4; ++i) {
    producers.push_back(Thread::of_virtual().start([&queue, i] { queue.put(i); }));
    creel_test::await_state(producers.back(), creel::ThreadState::Waiting);
  }
  for (int i = 0; i <= 4; ++i) CHECK(queue.take() == i);
  for (const Thread& producer : producers) CHECK(producer.join(20s));
}
