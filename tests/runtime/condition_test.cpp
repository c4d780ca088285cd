// In which order those who wait come back. What else a condition promises is tested with its lock.
#include "creel_test/both_kinds.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/read_write_lock.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <mutex>
#include <numeric>
#include <vector>

using namespace std::chrono_literals;
using creel::Condition;
using creel::ReentrantLock;
using creel::ReentrantReadWriteLock;
using creel::Thread;

namespace {

constexpr std::size_t kWaiters = 12;  // more than are woken without the lock

// `lock` is a BasicLockable. Threads of one kind wait, one after the other; all are signalled at once, and
// each notes when it has the lock again.
template <typename Lock>
std::vector<std::size_t> order_of_return(Lock& lock, Condition& condition, Thread::Builder builder,
                                         bool all) {
  std::vector<std::size_t> order;
  std::vector<Thread> threads;
  std::size_t waiting = 0;
  for (std::size_t i = 0; i < kWaiters; ++i) {
    threads.push_back(builder.start([&, i] {
      const std::lock_guard guard{lock};
      ++waiting;
      condition.await_uninterruptibly();
      order.push_back(i);
    }));
    for (bool waits = false; !waits;) {
      Thread::yield();
      const std::lock_guard guard{lock};  // who counted has given the lock up since: it waits
      waits = waiting == i + 1;
    }
  }
  {
    const std::lock_guard guard{lock};
    if (all) {
      condition.signal_all();
    } else {
      for (std::size_t i = 0; i < kWaiters; ++i) condition.signal();
    }
  }
  for (const Thread& thread : threads) thread.join();
  return order;
}

std::vector<std::size_t> first_in_first_out() {
  std::vector<std::size_t> order(kWaiters);
  std::iota(order.begin(), order.end(), std::size_t{0});
  return order;
}

template <typename Lock, typename Make>
void check_order(Make make) {
  for (int round = 0; round < 60; ++round) {
    for (const Thread::Builder& builder : {Thread::of_platform(), Thread::of_virtual()}) {
      make([&](auto& lock, Condition& condition) {
        CHECK(order_of_return(lock, condition, builder, round % 2 == 0) == first_in_first_out());
      });
    }
  }
}

}  // namespace

TEST_CASE("those who wait on a condition have the lock again in the order in which they were signalled") {
  for (const auto fairness : {ReentrantLock::Fairness::Unfair, ReentrantLock::Fairness::Fair}) {
    check_order<ReentrantLock>([&](auto test) {
      ReentrantLock lock{"order", fairness};
      Condition condition{lock};
      test(lock, condition);
    });
  }
}

TEST_CASE("so do those on a condition of a write lock") {
  for (const auto fairness :
       {ReentrantReadWriteLock::Fairness::Unfair, ReentrantReadWriteLock::Fairness::Fair}) {
    check_order<ReentrantReadWriteLock>([&](auto test) {
      ReentrantReadWriteLock lock{"order", fairness};
      Condition condition = lock.write_lock().condition("changed");
      test(lock, condition);
    });
  }
}

TEST_CASE("signals meet waits that time out or are interrupted: none is lost, none is had twice") {
  creel_test::on_both_kinds([] {
    ReentrantLock lock{"crossing"};
    Condition condition{lock};
    std::atomic<int> signalled{0}, notified{0}, gave_up{0};
    std::vector<Thread> threads;
    constexpr int kThreads = 8, kRounds = 300;
    std::atomic<int> running{kThreads};
    for (int t = 0; t < kThreads; ++t) {
      threads.push_back((t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual()).start([&, t] {
        for (int round = 0; round < kRounds; ++round) {
          const std::lock_guard guard{lock};
          try {
            ++(condition.await(creel::Deadline(1us * ((t * 37 + round) % 60))) ? notified : gave_up);
          } catch (const creel::InterruptedError&) {
            ++gave_up;
          }
        }
        --running;
      }));
    }
    for (std::size_t i = 0; running > 0; ++i) {
      {
        const std::lock_guard guard{lock};
        const std::uint32_t waiting = lock.wait_queue_length(condition);
        if (i % 7 == 0) {
          condition.signal_all();
          signalled += static_cast<int>(waiting);
        } else if (waiting > 0) {
          condition.signal();
          ++signalled;
        }
      }
      threads[i % threads.size()].interrupt();
      Thread::yield();
    }
    for (const Thread& thread : threads) thread.join();
    CHECK(notified == signalled);
    CHECK(notified + gave_up == kThreads * kRounds);
    CHECK_FALSE(lock.is_locked());
    CHECK_FALSE(lock.has_queued_threads());
  });
}
