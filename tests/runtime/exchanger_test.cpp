#include "thread_record.hpp"

#include <creel/runtime/exchanger.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::Exchanger;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("exchanger: two threads swap, and see what the other did before") {
  Exchanger<std::unique_ptr<int>> exchanger{"buffers"};
  int plain = 0;
  Thread other = Thread::of_virtual().start([&] {
    plain = 7;
    std::unique_ptr<int> got = exchanger.exchange(std::make_unique<int>(2));
    CHECK(*got == 1);
  });
  await_state(other, ThreadState::Waiting);
  CHECK(std::string(other.record()->park_site.type.load()) == "creel::Exchanger");
  CHECK(std::string(other.record()->park_site.name.load()) == "buffers");
  CHECK(*exchanger.exchange(std::make_unique<int>(1)) == 2);
  CHECK(plain == 7);
  CHECK(other.join(20s));
}

TEST_CASE("exchanger: who gives up keeps the item, and the next two meet") {
  Exchanger<std::unique_ptr<int>> exchanger;
  std::unique_ptr<int> item = std::make_unique<int>(5);
  CHECK_THROWS_AS(exchanger.exchange(std::move(item), 5ms), creel::TimeoutError);
  REQUIRE(item != nullptr);
  CHECK(*item == 5);
  Thread interrupted = Thread::of_platform().start([&] {
    std::unique_ptr<int> mine = std::make_unique<int>(6);
    CHECK_THROWS_AS(exchanger.exchange(std::move(mine)), creel::InterruptedError);
    CHECK(mine != nullptr);
  });
  await_state(interrupted, ThreadState::Waiting);
  interrupted.interrupt();
  CHECK(interrupted.join(20s));
  Thread::current().interrupt();
  CHECK_THROWS_AS(exchanger.exchange(std::move(item)), creel::InterruptedError);
  CHECK(item != nullptr);
  Thread other =
      Thread::of_platform().start([&] { CHECK(*exchanger.exchange(std::make_unique<int>(8)) == 5); });
  await_state(other, ThreadState::Waiting);
  CHECK(*exchanger.exchange(std::move(item), 20s) == 8);
  CHECK(other.join(20s));
}

TEST_CASE("exchanger: stress: every item ends up with exactly one thread, also when some give up") {
  constexpr int kThreads = 6;
  constexpr int kRounds = 500;
  Exchanger<int> exchanger;
  std::vector<int> held(kThreads);
  std::vector<Thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&, t] {
      int mine = t;
      for (int i = 0; i < kRounds; ++i) {
        try {
          mine = exchanger.exchange(mine, i % 7 == 0 ? 20us : 1ms);
        } catch (const creel::TimeoutError&) {
        }
      }
      held[static_cast<std::size_t>(t)] = mine;
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  std::sort(held.begin(), held.end());
  for (int t = 0; t < kThreads; ++t) CHECK(held[static_cast<std::size_t>(t)] == t);
}

TEST_CASE("exchanger: a deadline that has passed swaps with one who waits, and waits for nobody") {
  Exchanger<int> exchanger;
  CHECK_THROWS_AS(exchanger.exchange(1, -1s), creel::TimeoutError);
  const Thread other = Thread::of_platform().start([&] { CHECK(exchanger.exchange(2) == 1); });
  await_state(other, ThreadState::Waiting);
  Thread::current().interrupt();
  CHECK_THROWS_AS(exchanger.exchange(1), creel::InterruptedError);  // before it looks who is there
  CHECK(exchanger.exchange(1, -1s) == 2);
  CHECK(other.join(20s));
}
