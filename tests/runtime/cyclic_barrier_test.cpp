#include "thread_record.hpp"

#include <creel/runtime/cyclic_barrier.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::BrokenBarrierError;
using creel::CyclicBarrier;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("cyclic_barrier: nobody goes on before all have come; the action runs between, once a generation") {
  constexpr int kThreads = 4;
  constexpr int kRounds = 300;
  long parts[kThreads] = {};  // plain: the barrier orders them
  long sum = 0;
  std::atomic<int> indices{0};
  std::atomic<bool> wrong{false};
  CyclicBarrier barrier{kThreads, [&] {
                          for (const long part : parts) sum += part;
                        }};
  std::vector<Thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&, t] {
      for (int round = 1; round <= kRounds; ++round) {
        parts[t] = round;
        indices += static_cast<int>(barrier.await());
        if (sum != long{kThreads} * round * round) wrong = true;
        barrier.await();  // nobody writes the next part while others look at the sum
      }
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK_FALSE(wrong);
  CHECK(indices == kRounds * (0 + 1 + 2 + 3));
}

TEST_CASE("cyclic_barrier: one party never waits; none is an error") {
  int runs = 0;
  CyclicBarrier barrier{1, [&] { ++runs; }};
  CHECK(barrier.await() == 0);
  CHECK(barrier.await() == 0);
  CHECK(runs == 2);
  CHECK_THROWS_AS(CyclicBarrier(0), creel::Error);
  CHECK_THROWS_WITH_AS(CyclicBarrier(static_cast<std::uint32_t>(-2), "desk"),
                       "creel::CyclicBarrier \"desk\": -2 parties; a barrier is for 1 or more", creel::Error);
}

TEST_CASE("cyclic_barrier: an interrupt breaks it for all, and for those who come later, until reset") {
  CyclicBarrier barrier{3, "step"};
  std::atomic<int> broken{0};
  Thread victim =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(barrier.await(), creel::InterruptedError); });
  Thread other = Thread::of_virtual().start([&] {
    try {
      barrier.await();
    } catch (const BrokenBarrierError&) {
      ++broken;
    }
  });
  await_state(victim, ThreadState::Waiting);
  await_state(other, ThreadState::Waiting);
  CHECK(barrier.number_waiting() == 2);
  CHECK(std::string(victim.record()->park_site.type.load()) == "creel::CyclicBarrier");
  CHECK(std::string(victim.record()->park_site.name.load()) == "step");
  CHECK_FALSE(barrier.is_broken());
  victim.interrupt();
  CHECK(victim.join(20s));
  CHECK(other.join(20s));
  CHECK(broken == 1);
  CHECK(barrier.is_broken());
  CHECK(barrier.number_waiting() == 0);
  CHECK_THROWS_AS(barrier.await(), BrokenBarrierError);
  barrier.reset();
  CHECK_FALSE(barrier.is_broken());
  Thread::current().interrupt();
  CHECK_THROWS_AS(barrier.await(), creel::InterruptedError);  // before it waits; breaks it too
  CHECK(barrier.is_broken());
  CHECK_FALSE(Thread::interrupted());
}

TEST_CASE("cyclic_barrier: a deadline breaks it: TimeoutError here, BrokenBarrierError there") {
  CyclicBarrier barrier{3};
  Thread other = Thread::of_platform().start([&] { CHECK_THROWS_AS(barrier.await(), BrokenBarrierError); });
  await_state(other, ThreadState::Waiting);
  CHECK_THROWS_WITH_AS(barrier.await(5ms), doctest::Contains("1 of 3"), creel::TimeoutError);
  CHECK(other.join(20s));
  CHECK(barrier.is_broken());
}

TEST_CASE("cyclic_barrier: what the action throws goes to the last, and breaks it for the others") {
  bool fail = true;
  CyclicBarrier barrier{2, [&] {
                          if (fail) throw std::runtime_error("no");
                        }};
  Thread other = Thread::of_platform().start([&] { CHECK_THROWS_AS(barrier.await(), BrokenBarrierError); });
  await_state(other, ThreadState::Waiting);
  CHECK_THROWS_WITH_AS(barrier.await(), "no", std::runtime_error);
  CHECK(other.join(20s));
  CHECK(barrier.is_broken());
  fail = false;
  barrier.reset();
  Thread again = Thread::of_platform().start([&] { CHECK(barrier.await() == 1); });
  await_state(again, ThreadState::Waiting);
  CHECK(barrier.await() == 0);
  CHECK(again.join(20s));
}

TEST_CASE("cyclic_barrier: reset breaks those that wait and is new for those that come") {
  CyclicBarrier barrier{2};
  CHECK(barrier.parties() == 2);
  Thread waiting = Thread::of_platform().start([&] { CHECK_THROWS_AS(barrier.await(), BrokenBarrierError); });
  await_state(waiting, ThreadState::Waiting);
  barrier.reset();
  CHECK(waiting.join(20s));
  CHECK_FALSE(barrier.is_broken());
  Thread next = Thread::of_platform().start([&] { CHECK(barrier.await() == 1); });
  await_state(next, ThreadState::Waiting);
  CHECK(barrier.await() == 0);
  CHECK(next.join(20s));
}

TEST_CASE("cyclic_barrier: a deadline that has passed breaks it at once, unless nobody is missing") {
  CyclicBarrier barrier{2};
  const Thread other = Thread::of_platform().start([&] { CHECK(barrier.await() == 1); });
  await_state(other, ThreadState::Waiting);
  CHECK(barrier.await(-1s) == 0);
  CHECK(other.join(20s));
  CHECK_FALSE(barrier.is_broken());
  CHECK_THROWS_AS(barrier.await(-1s), creel::TimeoutError);
  CHECK(barrier.is_broken());
  Thread::current().interrupt();
  CHECK_THROWS_AS(barrier.await(), BrokenBarrierError);  // which it is whoever comes
  CHECK(Thread::interrupted());
}
