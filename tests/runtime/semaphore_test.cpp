#include <creel/runtime/semaphore.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

using namespace std::chrono_literals;
using creel::Semaphore;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("permits are counted, also below zero, and drained") {
  Semaphore semaphore{2};
  CHECK(semaphore.try_acquire(2));
  CHECK_FALSE(semaphore.try_acquire());
  CHECK_FALSE(semaphore.try_acquire(2ms));
  semaphore.release(5);
  CHECK(semaphore.available_permits() == 5);
  CHECK(semaphore.drain_permits() == 5);
  CHECK(semaphore.drain_permits() == 0);
  Semaphore in_debt{-1};
  in_debt.release();
  CHECK_FALSE(in_debt.try_acquire());
  in_debt.release();
  CHECK(in_debt.try_acquire());
}

TEST_CASE("no more threads than permits are inside") {
  Semaphore semaphore{3};
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::vector<Thread> threads;
  for (int t = 0; t < 10; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&] {
      for (int i = 0; i < 300; ++i) {
        semaphore.acquire();
        const int now = ++inside;
        int seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        Thread::yield();
        --inside;
        semaphore.release();
      }
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(30s));
  CHECK(most <= 3);
  CHECK(most >= 2);
  CHECK(semaphore.available_permits() == 3);
}

TEST_CASE("one release of many permits serves many waiters, a large request waits for enough") {
  Semaphore semaphore{0, "slots", Semaphore::Fairness::Fair};
  std::vector<Thread> threads;
  threads.push_back(Thread::of_platform().start([&] { semaphore.acquire(3); }));
  await_state(threads[0], ThreadState::Waiting);
  for (int i = 0; i < 4; ++i) {
    threads.push_back(Thread::of_platform().start([&] { semaphore.acquire(); }));
    await_state(threads.back(), ThreadState::Waiting);
  }
  semaphore.release(2);
  CHECK_FALSE(threads[0].join(5ms));
  CHECK_FALSE(threads[1].join(1ms));  // fair: nobody goes before the large request
  semaphore.release(5);
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(semaphore.available_permits() == 0);
}

TEST_CASE("a waiter that gives up passes what it was offered to the next") {
  Semaphore semaphore{0};
  Thread large =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(semaphore.acquire(3), creel::InterruptedError); });
  await_state(large, ThreadState::Waiting);
  Thread small = Thread::of_platform().start([&] { semaphore.acquire(); });
  await_state(small, ThreadState::Waiting);
  semaphore.release(2);  // not enough for the first, and the second stands behind it
  CHECK_FALSE(small.join(5ms));
  large.interrupt();
  CHECK(large.join(20s));
  CHECK(small.join(20s));
}

TEST_CASE("acquire answers interrupt, acquire_uninterruptibly keeps it") {
  Semaphore semaphore{0};
  Thread interruptible =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(semaphore.acquire(), creel::InterruptedError); });
  std::atomic<bool> kept{false};
  Thread stubborn = Thread::of_platform().start([&] {
    semaphore.acquire_uninterruptibly();
    kept = Thread::interrupted();
  });
  await_state(interruptible, ThreadState::Waiting);
  await_state(stubborn, ThreadState::Waiting);
  interruptible.interrupt();
  CHECK(interruptible.join(20s));
  stubborn.interrupt();
  semaphore.release();
  CHECK(stubborn.join(20s));
  CHECK(kept);
}

TEST_CASE("several permits by a deadline: all of them or none") {
  Semaphore semaphore{2};
  CHECK(semaphore.try_acquire(2, 20s));
  CHECK_FALSE(semaphore.try_acquire(10ms));
  semaphore.release();
  CHECK_FALSE(semaphore.try_acquire(2, 10ms));
  CHECK(semaphore.available_permits() == 1);
  CHECK(semaphore.try_acquire(20s));
  CHECK_THROWS_AS(semaphore.try_acquire(-1, 10ms), creel::Error);
}

TEST_CASE("permits are taken away without waiting; a negative number is an error; waiters are counted") {
  Semaphore semaphore{2, "slots", Semaphore::Fairness::Fair};
  CHECK(semaphore.is_fair());
  CHECK_FALSE(Semaphore{1}.is_fair());
  semaphore.reduce_permits(3);
  CHECK(semaphore.available_permits() == -1);
  CHECK(semaphore.to_string() == "creel::Semaphore \"slots\" [-1 permits]");
  CHECK_THROWS_AS(semaphore.reduce_permits(-1), creel::Error);
  CHECK_THROWS_AS(semaphore.release(-1), creel::Error);
  CHECK_THROWS_AS(semaphore.acquire(-1), creel::Error);
  CHECK_THROWS_AS(semaphore.try_acquire(-1), creel::Error);
  CHECK_FALSE(semaphore.has_queued_threads());
  Thread waiter = Thread::of_platform().start([&] { semaphore.acquire(); });
  await_state(waiter, ThreadState::Waiting);
  CHECK(semaphore.queue_length() == 1);
  semaphore.release(2);
  CHECK(waiter.join(20s));
}

TEST_CASE("draining a semaphore that is in debt forgives the debt, and says how much it was") {
  Semaphore semaphore{-3};
  CHECK(semaphore.drain_permits() == -3);
  CHECK(semaphore.available_permits() == 0);
  CHECK_FALSE(semaphore.try_acquire());
  semaphore.release();
  CHECK(semaphore.try_acquire());
}

TEST_CASE("more permits than a semaphore can count are refused, and none of them is added") {
  constexpr std::int64_t kMost = Semaphore::kMostPermits;
  CHECK_THROWS_AS(Semaphore{kMost + 1}, creel::Error);
  CHECK_THROWS_AS(Semaphore{-kMost - 1}, creel::Error);
  Semaphore semaphore{kMost - 1};
  CHECK_THROWS_AS(semaphore.release(2), creel::Error);
  CHECK_THROWS_AS(semaphore.release(std::numeric_limits<std::int64_t>::max()), creel::Error);
  CHECK(semaphore.available_permits() == kMost - 1);
  semaphore.release();
  CHECK(semaphore.available_permits() == kMost);
  CHECK_THROWS_AS(semaphore.release(), creel::Error);
  CHECK(semaphore.drain_permits() == kMost);
  semaphore.reduce_permits(kMost);
  CHECK_THROWS_AS(semaphore.reduce_permits(1), creel::Error);
  CHECK(semaphore.available_permits() == -kMost);
  semaphore.release(kMost);
  CHECK(semaphore.available_permits() == 0);
  const Thread waiter = Thread::of_platform().start([&] { semaphore.acquire(kMost); });
  await_state(waiter, ThreadState::Waiting);
  semaphore.release(1);
  CHECK_THROWS_AS(semaphore.release(kMost), creel::Error);  // with somebody in line
  semaphore.release(kMost - 1);
  CHECK(waiter.join(20s));
}

TEST_CASE(
    "a fair semaphore: try_acquire with a deadline goes behind those who wait, without one it does not") {
  Semaphore semaphore{0, "slots", Semaphore::Fairness::Fair};
  const Thread waiter = Thread::of_platform().start([&] { semaphore.acquire(2); });
  await_state(waiter, ThreadState::Waiting);
  semaphore.release();  // not enough for the first in line
  CHECK_FALSE(semaphore.try_acquire(0ms));
  CHECK(semaphore.try_acquire());
  semaphore.release(2);
  CHECK(waiter.join(20s));
}

TEST_CASE("a thread that was interrupted before acquire is told, though there are permits") {
  Semaphore semaphore{1};
  Thread::current().interrupt();
  CHECK_THROWS_AS(semaphore.acquire(), creel::InterruptedError);
  CHECK_FALSE(Thread::interrupted());
  Thread::current().interrupt();
  CHECK_THROWS_AS(semaphore.try_acquire(0ms), creel::InterruptedError);
  Thread::current().interrupt();
  CHECK(semaphore.try_acquire());  // does not wait, so that it has nothing to tell
  CHECK(Thread::interrupted());
}
