#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <optional>
#include <vector>

using namespace std::chrono_literals;
using creel::CountDownLatch;
using creel::Thread;

TEST_CASE("a latch opens at zero, once, for all, and shows what was done before") {
  CountDownLatch latch{3, "parts"};
  std::vector<int> parts(3);
  CHECK_FALSE(latch.await(2ms));
  std::vector<Thread> threads;
  for (std::size_t i = 0; i < 3; ++i) {
    threads.push_back(Thread::of_platform().start([&, i] {
      parts[i] = static_cast<int>(i) + 1;
      latch.count_down();
    }));
  }
  for (int i = 0; i < 4; ++i) {
    threads.push_back(Thread::of_virtual().start([&] {
      CHECK(latch.await(20s));
      CHECK(parts == std::vector<int>{1, 2, 3});
    }));
  }
  CHECK(latch.await());
  latch.count_down();
  CHECK(latch.count() == 0);
  for (const Thread& thread : threads) thread.join();
}

TEST_CASE("a latch cannot count from below zero, and is open from the beginning at zero") {
  CHECK(CountDownLatch{0}.await(0s));
  CHECK_THROWS_WITH_AS(CountDownLatch(static_cast<std::uint64_t>(-1)),
                       "a creel::CountDownLatch of count -1; use 0 or more", creel::Error);
}

TEST_CASE("await answers interrupt") {
  CountDownLatch latch{1};
  Thread::current().interrupt();
  CHECK_THROWS_AS(latch.await(), creel::InterruptedError);
  CHECK_FALSE(Thread::interrupted());
}

TEST_CASE("a latch may go as soon as await has returned") {
  for (int round = 0; round < 300; ++round) {
    std::optional<CountDownLatch> latch{std::in_place, 1u};
    Thread thread = Thread::of_virtual().start([&] { latch->count_down(); });
    latch->await();
    latch.reset();
    thread.join();
  }
}

TEST_CASE("a latch that is open still tells an interrupt; a deadline that has passed does not wait") {
  CountDownLatch open{0};
  CHECK(open.await(-1s));
  Thread::current().interrupt();
  CHECK_THROWS_AS(open.await(), creel::InterruptedError);
  CHECK_FALSE(Thread::interrupted());
  CountDownLatch closed{1};
  CHECK_FALSE(closed.await(-1s));
  CHECK_FALSE(closed.await(0ns));
  CHECK(closed.count() == 1);
}
