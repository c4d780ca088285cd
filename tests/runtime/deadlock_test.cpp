#include "deadlock_search.hpp"

#include <creel/runtime/deadlock.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <latch>
#include <vector>

using namespace std::chrono_literals;
using creel::detail::find_cycles;

namespace {

// Two threads, each holding one lock and waiting for the other's until interrupted.
class DeadlockedPair {
 public:
  DeadlockedPair() {
    first_ = start("first", left_, right_);
    second_ = start("second", right_, left_);
    while (first_.state() != creel::ThreadState::Waiting || second_.state() != creel::ThreadState::Waiting) {
      creel::Thread::yield();
    }
  }
  ~DeadlockedPair() {
    first_.interrupt();
    first_.join();
    second_.join();
  }
  const creel::Thread& first() const { return first_; }
  const creel::Thread& second() const { return second_; }

 private:
  creel::Thread start(std::string name, creel::ReentrantLock& own, creel::ReentrantLock& other) {
    return creel::Thread::of_platform().name(std::move(name)).start([this, &own, &other] {
      const std::scoped_lock holding{own};
      both_.arrive_and_wait();
      try {
        other.lock_interruptibly();
        other.unlock();
      } catch (const creel::InterruptedError&) {
      }
    });
  }

  creel::ReentrantLock left_{"left"}, right_{"right"};
  std::latch both_{2};
  creel::Thread first_, second_;
};

}  // namespace

TEST_CASE("cycles of a graph with one edge a node are found once each") {
  using Graph = std::vector<std::ptrdiff_t>;
  CHECK(find_cycles(Graph{}).empty());
  CHECK(find_cycles(Graph{-1, 0, 1}).empty());
  CHECK(find_cycles(Graph{0}).size() == 1);
  const auto cycles = find_cycles(Graph{1, 2, 0, 0, 5, 4, -1, 6});
  REQUIRE(cycles.size() == 2);
  CHECK(cycles[0] == std::vector<std::size_t>{0, 1, 2});
  CHECK(cycles[1] == std::vector<std::size_t>{4, 5});
}

TEST_CASE("a deadlock of two locks is found with its threads and locks, and is gone when it is broken") {
  {
    const DeadlockedPair pair;
    const std::vector<creel::Deadlock> deadlocks = creel::find_deadlocks();
    REQUIRE(deadlocks.size() == 1);
    const auto& threads = deadlocks[0].threads;
    REQUIRE(threads.size() == 2);
    CHECK(threads[0].id == pair.first().id());
    CHECK(threads[0].name == "first");
    CHECK(threads[0].lock.name == "right");
    CHECK(threads[0].lock.owner == pair.second().id());
    CHECK(threads[0].lock.owner_name == "second");
    CHECK(threads[1].name == "second");
    CHECK(threads[1].lock.name == "left");
    CHECK(threads[1].lock.type == "creel::ReentrantLock");
  }
  CHECK(creel::find_deadlocks().empty());
}

TEST_CASE("a deadlock through a join is found") {
  creel::ReentrantLock lock{"result"};
  creel::Thread waiter;
  std::latch started(1);
  lock.lock();
  // The waiter wants our lock; we wait for the waiter's end.
  waiter = creel::Thread::of_platform().name("waiter").start([&] {
    started.count_down();
    const std::scoped_lock never{lock};
  });
  started.wait();
  std::vector<creel::Deadlock> found;
  const creel::Thread self = creel::Thread::current();
  const creel::Thread watcher = creel::Thread::of_platform().name("watcher").start([&] {
    while ((found = creel::find_deadlocks()).empty()) creel::Thread::yield();
    self.interrupt();
  });
  CHECK_THROWS_AS(waiter.join(), creel::InterruptedError);
  lock.unlock();
  watcher.join();
  waiter.join();
  REQUIRE(found[0].threads.size() == 2);
  const bool first_joins = found[0].threads[0].wait == creel::WaitKind::Joining;
  CHECK(found[0].threads[first_joins ? 0 : 1].id == self.id());
  CHECK(found[0].threads[first_joins ? 1 : 0].lock.name == "result");
}

TEST_CASE("a wait with a deadline ends by itself and is no deadlock") {
  creel::ReentrantLock left{"left"}, right{"right"};
  std::latch both(2);
  const auto start = [&](creel::ReentrantLock& own, creel::ReentrantLock& other) {
    return creel::Thread::of_platform().start([&] {
      const std::scoped_lock holding{own};
      both.arrive_and_wait();
      if (other.try_lock(300ms)) other.unlock();
    });
  };
  const creel::Thread first = start(left, right), second = start(right, left);
  while (first.state() != creel::ThreadState::TimedWaiting ||
         second.state() != creel::ThreadState::TimedWaiting) {
    if (!first.is_alive() || !second.is_alive()) break;
    creel::Thread::yield();
  }
  CHECK(creel::find_deadlocks().empty());
  first.join();
  second.join();
}
