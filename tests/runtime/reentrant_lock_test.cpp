#include "hold_counts.hpp"
#include "thread_record.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <mutex>
#include <vector>

using namespace std::chrono_literals;
using creel::ReentrantLock;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("a reentrant lock counts its holds") {
  ReentrantLock lock{"accounts"};
  lock.lock();
  CHECK(lock.try_lock());
  lock.lock_interruptibly();
  CHECK(lock.hold_count() == 3);
  CHECK(lock.is_held_by_current_thread());
  Thread::of_platform()
      .start([&] {
        CHECK(lock.is_locked());
        CHECK(lock.hold_count() == 0);
        CHECK_FALSE(lock.try_lock());
        CHECK_FALSE(lock.try_lock(2ms));
        CHECK_THROWS_AS(lock.unlock(), creel::Error);
      })
      .join();
  for (int i = 0; i < 3; ++i) lock.unlock();
  CHECK_FALSE(lock.is_locked());
}

TEST_CASE(
    "a waiting thread parks for the lock's owner; lock_interruptibly and timed try_lock answer interrupt") {
  ReentrantLock lock{"accounts"};
  lock.lock();
  std::array<Thread, 2> waiters{
      Thread::of_platform().start(
          [&] { CHECK_THROWS_AS(lock.lock_interruptibly(), creel::InterruptedError); }),
      Thread::of_platform().start([&] { CHECK_THROWS_AS(lock.try_lock(1h), creel::InterruptedError); })};
  await_state(waiters[0], ThreadState::Waiting);
  await_state(waiters[1], ThreadState::TimedWaiting);
  CHECK(waiters[0].record()->park_site.kind == creel::WaitKind::Parking);
  CHECK((waiters[0].record()->park_site.owner.load()->load() & ~creel::detail::kOwnerFlag) ==
        Thread::current().id());
  CHECK(lock.queue_length() == 2);
  for (const Thread& waiter : waiters) {
    waiter.interrupt();
    CHECK(waiter.join(20s));
  }
  CHECK_FALSE(lock.has_queued_threads());
  lock.unlock();
  Thread::current().interrupt();
  CHECK_THROWS_AS(lock.lock_interruptibly(), creel::InterruptedError);
  Thread::current().interrupt();
  lock.lock();  // not interruptible: keeps the flag
  CHECK(Thread::interrupted());
  lock.unlock();
}

TEST_CASE("an interrupt that comes during lock() is kept for after it") {
  ReentrantLock lock;
  lock.lock();
  std::atomic<bool> flag{false};
  Thread waiter = Thread::of_platform().start([&] {
    lock.lock();
    flag = Thread::interrupted();
    lock.unlock();
  });
  await_state(waiter, ThreadState::Waiting);
  waiter.interrupt();
  lock.unlock();
  CHECK(waiter.join(20s));
  CHECK(flag);
}

TEST_CASE("a fair lock serves in the order of arrival, and newcomers go behind") {
  ReentrantLock lock{ReentrantLock::Fairness::Fair};
  CHECK(lock.is_fair());
  CHECK_FALSE(ReentrantLock().is_fair());
  std::vector<int> order;
  std::vector<Thread> threads;
  lock.lock();
  for (int t = 0; t < 8; ++t) {
    threads.push_back(Thread::of_platform().start([&, t] {
      const std::scoped_lock guard{lock};
      order.push_back(t);
    }));
    await_state(threads.back(), ThreadState::Waiting);
  }
  lock.unlock();
  {
    const std::scoped_lock guard{lock};  // behind all of them
    CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7});
  }
  for (const Thread& thread : threads) thread.join();
}

TEST_CASE("a waiter that gives up passes its turn on") {
  for (int round = 0; round < 200; ++round) {
    ReentrantLock lock;
    lock.lock();
    Thread impatient = Thread::of_platform().start([&] {
      if (lock.try_lock(std::chrono::microseconds(round * 5))) lock.unlock();
    });
    Thread patient = Thread::of_platform().start([&] { const std::scoped_lock guard{lock}; });
    lock.unlock();
    CHECK(patient.join(20s));
    CHECK(impatient.join(20s));
  }
}

TEST_CASE("conditions of one lock are apart; a signal wakes in order, and reports its lock as given up") {
  ReentrantLock lock;
  creel::Condition first{lock, "first"};
  creel::Condition second = lock.condition("second");
  std::vector<int> woken;
  const auto wait_on = [&](creel::Condition& condition, int number) {
    Thread thread = Thread::of_platform().start([&, number] {
      const std::scoped_lock guard{lock};
      condition.await();
      woken.push_back(number);
    });
    await_state(thread, ThreadState::Waiting);
    return thread;
  };
  const std::vector<Thread> threads{wait_on(first, 1), wait_on(second, 2), wait_on(first, 3)};
  CHECK(std::string(threads[1].record()->park_site.name.load()) == "second");
  CHECK(threads[1].record()->own().held_count == 0);
  const auto signal = [&](creel::Condition& condition) {
    const std::scoped_lock guard{lock};
    condition.signal();
  };
  signal(second);
  threads[1].join();
  signal(first);
  threads[0].join();
  signal(first);
  threads[2].join();
  CHECK(woken == std::vector<int>{2, 1, 3});
  CHECK_THROWS_AS(first.signal(), creel::Error);
  CHECK_THROWS_AS(first.await(1ms), creel::Error);
}

TEST_CASE("await keeps its deadline and its predicate, await_uninterruptibly the interrupt") {
  ReentrantLock lock;
  creel::Condition condition{lock};
  bool done = false;
  {
    const std::scoped_lock guard{lock};
    CHECK_FALSE(condition.await(2ms));
    CHECK_FALSE(condition.await([&] { return done; }, 2ms));
  }
  std::atomic<bool> kept{false};
  Thread thread = Thread::of_platform().start([&] {
    const std::scoped_lock guard{lock};
    while (!done) condition.await_uninterruptibly();
    kept = Thread::interrupted();
  });
  await_state(thread, ThreadState::Waiting);
  thread.interrupt();
  CHECK_FALSE(thread.join(5ms));
  {
    const std::scoped_lock guard{lock};
    done = true;
    condition.signal();
  }
  CHECK(thread.join(20s));
  CHECK(kept);
}

TEST_CASE("more locks than are shown are held and given back in any order") {
  constexpr std::size_t kLocks = creel::detail::ThreadRecord::kHeldShown + 4;
  std::array<ReentrantLock, kLocks> locks;
  const auto& self = creel::detail::current_record();
  for (ReentrantLock& lock : locks) lock.lock();
  CHECK(self.own().held_count == kLocks);
  locks[kLocks - 1].unlock();  // not shown
  locks[0].unlock();           // shown, in the middle of things
  CHECK(self.own().held_count == kLocks - 2);
  for (std::size_t i = 1; i + 1 < kLocks; ++i) locks[i].unlock();
  CHECK(self.own().held_count == 0);
  locks[0].lock();
  CHECK(self.own().held[0].stack_pointer != 0);
  locks[0].unlock();
}

TEST_CASE("a lock tells who waits for it and on its conditions, and who holds it") {
  ReentrantLock lock{"accounts"};
  creel::Condition changed{lock, "changed"};
  ReentrantLock other;
  creel::Condition of_other{other};
  CHECK_FALSE(lock.owner());
  CHECK(lock.to_string() == "creel::ReentrantLock \"accounts\" [unlocked]");
  CHECK_THROWS_AS(lock.has_waiters(changed), creel::Error);  // not held
  Thread waiter = Thread::of_platform().start([&] {
    const std::scoped_lock guard{lock};
    changed.await();
  });
  await_state(waiter, ThreadState::Waiting);
  lock.lock();
  CHECK(lock.owner() == Thread::current());
  CHECK(lock.to_string().find("locked by") != std::string::npos);
  CHECK(lock.has_waiters(changed));
  CHECK(lock.wait_queue_length(changed) == 1);
  CHECK_THROWS_AS(lock.has_waiters(of_other), creel::Error);
  Thread queued = Thread::of_platform().start([&] { const std::scoped_lock guard{lock}; });
  await_state(queued, ThreadState::Waiting);
  CHECK(lock.has_queued_thread(queued));
  CHECK_FALSE(lock.has_queued_thread(waiter));  // it waits to be signalled, not for the lock
  changed.signal();
  CHECK_FALSE(lock.has_waiters(changed));
  lock.unlock();
  CHECK(waiter.join(20s));
  CHECK(queued.join(20s));
}

TEST_CASE(
    "a deadline that has passed: try_lock takes what is free, or held by the caller, and waits for nothing") {
  creel::ReentrantLock lock{"turns", creel::ReentrantLock::Fairness::Fair};
  creel::CountDownLatch release{1};
  lock.lock();
  const Thread first = Thread::of_platform().start([&] {
    lock.lock();
    release.await();
    lock.unlock();
  });
  await_state(first, ThreadState::Waiting);
  CHECK(lock.try_lock(-1s));  // held by the caller: a hold more
  CHECK(lock.hold_count() == 2);
  lock.unlock();
  const Thread late = Thread::of_virtual().start([&] { CHECK_FALSE(lock.try_lock(-1s)); });
  CHECK(late.join(20s));
  lock.unlock();
  release.count_down();
  CHECK(first.join(20s));
  CHECK(lock.try_lock(-1s));
  lock.unlock();
}

TEST_CASE("who was interrupted before gets neither the lock interruptibly nor into a wait") {
  creel::ReentrantLock lock;
  creel::Condition changed = lock.condition("changed");
  lock.lock();
  Thread::current().interrupt();
  CHECK_THROWS_AS(lock.lock_interruptibly(), creel::InterruptedError);  // also if it is held already
  CHECK(lock.hold_count() == 1);
  Thread::current().interrupt();
  CHECK_THROWS_AS(lock.try_lock(0ms), creel::InterruptedError);
  Thread::current().interrupt();
  CHECK_THROWS_AS(changed.await(), creel::InterruptedError);
  CHECK(lock.is_held_by_current_thread());
  CHECK_FALSE(Thread::interrupted());
  Thread::current().interrupt();
  CHECK(lock.try_lock());
  CHECK(Thread::interrupted());
  lock.unlock();
  CHECK_FALSE(changed.await(-1s));
  lock.unlock();
  CHECK_THROWS_AS(lock.unlock(), creel::Error);
  CHECK_THROWS_AS(changed.await(), creel::Error);
  CHECK_THROWS_AS(changed.signal(), creel::Error);
  CHECK_THROWS_AS(changed.signal_all(), creel::Error);
}

TEST_CASE("a wait gives all holds up and has all of them again, when it was interrupted too") {
  creel::ReentrantLock lock;
  creel::Condition changed = lock.condition("changed");
  const Thread waiter = Thread::of_virtual().start([&] {
    const std::scoped_lock once{lock};
    const std::scoped_lock twice{lock};
    CHECK_THROWS_AS(changed.await(), creel::InterruptedError);
    CHECK(lock.hold_count() == 2);
    CHECK_FALSE(changed.await(1ms));
    CHECK(lock.hold_count() == 2);
  });
  await_state(waiter, ThreadState::Waiting);
  CHECK(lock.try_lock());
  waiter.interrupt();
  lock.unlock();
  CHECK(waiter.join(20s));
}

TEST_CASE("a lock that is locked again and again says when it cannot count further") {
  creel::detail::LockCore lock{"creel::ReentrantLock", false, false, "loop"};
  const auto stack_pointer = reinterpret_cast<std::uintptr_t>(&lock);
  const auto take = [&] {
    return lock.lock(stack_pointer, creel::Deadline::never(), creel::detail::Interruptible::No);
  };
  take();
  creel::detail::HoldCounts::beyond_the_first(lock) = creel::detail::LockCore::kMostHolds - 2;
  take();  // the last one that counts
  CHECK_THROWS_WITH_AS(
      take(),
      "creel::ReentrantLock \"loop\": held 2147483647 times by thread \"main\", the most there may be",
      creel::Error);
  CHECK_THROWS_AS(lock.try_lock(stack_pointer), creel::Error);
  CHECK(creel::detail::HoldCounts::beyond_the_first(lock) == creel::detail::LockCore::kMostHolds - 1);
  creel::detail::HoldCounts::beyond_the_first(lock) = 0;
  lock.unlock();
  CHECK(lock.try_lock(stack_pointer));
  lock.unlock();
}
