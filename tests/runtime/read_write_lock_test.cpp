#include "hold_counts.hpp"
#include "thread_record.hpp"

#include <creel/runtime/condition.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/deadlock.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/read_write_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <creel_test/eventually.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;
using Lock = creel::ReentrantReadWriteLock;

namespace {

Thread on_platform(std::function<void()> body) { return Thread::of_platform().start(std::move(body)); }

}  // namespace

TEST_CASE("read_write_lock: readers share, a writer excludes") {
  Lock lock{"routes"};
  std::shared_lock reading{lock};
  on_platform([&] {
    std::shared_lock also_reading{lock};
    CHECK(lock.read_lock_count() == 2);
    CHECK_FALSE(lock.write_lock().try_lock());
    CHECK_FALSE(lock.try_lock(2ms));  // its own read is in the way too: Java's false, not an error
  }).join();
  reading.unlock();
  std::unique_lock writing{lock};
  CHECK(lock.is_write_locked_by_current_thread());
  on_platform([&] {
    CHECK_FALSE(lock.try_lock_shared());
    CHECK_FALSE(lock.try_lock_shared(2ms));
    CHECK_FALSE(lock.try_lock());
    CHECK_FALSE(lock.write_lock().try_lock(2ms));
    CHECK(lock.is_write_locked());
    CHECK_FALSE(lock.is_write_locked_by_current_thread());
    CHECK_THROWS_AS(lock.unlock(), creel::Error);
    CHECK_THROWS_AS(lock.unlock_shared(), creel::Error);
  }).join();
}

TEST_CASE("read_write_lock: both sides are reentrant, a writer reads, and goes on reading afterwards") {
  Lock lock;
  lock.lock();
  CHECK(lock.write_lock().try_lock());
  CHECK(lock.write_hold_count() == 2);
  lock.lock_shared();
  CHECK(lock.read_lock().try_lock());
  CHECK(lock.read_hold_count() == 2);
  const auto& self = creel::detail::current_record();
  const std::uint32_t held = self.own().held_count;
  lock.unlock();
  CHECK(self.own().held_count == held);
  lock.unlock();  // downgraded
  CHECK(self.own().held_count == held - 1);
  CHECK_FALSE(lock.is_write_locked());
  CHECK(lock.to_string() == "creel::ReentrantReadWriteLock [not written, 2 reads]");
  on_platform([&] {
    CHECK(lock.try_lock_shared());
    lock.unlock_shared();
    CHECK_FALSE(lock.try_lock());
  }).join();
  lock.unlock_shared();
  lock.unlock_shared();
  CHECK(self.own().held_count == held - 2);
  CHECK(lock.read_lock_count() == 0);
  CHECK(lock.try_lock());
  lock.unlock();
}

TEST_CASE("read_write_lock: a reader that wants to write is told that it would wait for itself") {
  Lock lock{"routes"};
  std::shared_lock reading{lock};
  CHECK_THROWS_WITH_AS(lock.lock(), doctest::Contains("would wait for itself"), creel::Error);
  CHECK_THROWS_AS(lock.write_lock().lock_interruptibly(), creel::Error);
  CHECK_FALSE(lock.try_lock());
  CHECK_FALSE(lock.try_lock(2ms));
  CHECK(lock.read_hold_count() == 1);
}

TEST_CASE("read_write_lock: waiting answers interrupt and deadline; lock() keeps the interrupt") {
  Lock lock{"routes"};
  lock.lock();
  std::atomic<int> kept{0};
  std::vector<Thread> ending{
      on_platform([&] { CHECK_THROWS_AS(lock.read_lock().lock_interruptibly(), creel::InterruptedError); }),
      on_platform([&] { CHECK_THROWS_AS(lock.write_lock().lock_interruptibly(), creel::InterruptedError); }),
      on_platform([&] { CHECK_THROWS_AS(lock.read_lock().try_lock(1h), creel::InterruptedError); }),
      on_platform([&] { CHECK_THROWS_AS(lock.write_lock().try_lock(1h), creel::InterruptedError); })};
  std::vector<Thread> staying{on_platform([&] {
                                lock.lock_shared();
                                kept += Thread::interrupted();
                                lock.unlock_shared();
                              }),
                              on_platform([&] {
                                lock.lock();
                                kept += Thread::interrupted();
                                lock.unlock();
                              })};
  for (std::size_t i = 0; i < 2; ++i) await_state(ending[i], ThreadState::Waiting);
  for (std::size_t i = 2; i < 4; ++i) await_state(ending[i], ThreadState::TimedWaiting);
  for (const Thread& thread : staying) await_state(thread, ThreadState::Waiting);
  CHECK(lock.queue_length() == 6);
  CHECK(lock.has_queued_thread(ending[2]));
  CHECK_FALSE(lock.has_queued_thread(Thread::current()));
  for (const Thread& thread : staying) thread.interrupt();
  for (const Thread& thread : ending) {
    thread.interrupt();
    CHECK(thread.join(20s));
  }
  lock.unlock();
  for (const Thread& thread : staying) CHECK(thread.join(20s));
  CHECK(kept == 2);
  Thread::current().interrupt();
  CHECK_THROWS_AS(lock.read_lock().lock_interruptibly(), creel::InterruptedError);
  CHECK_FALSE(lock.has_queued_threads());
  CHECK(lock.try_lock());
  lock.unlock();
}

TEST_CASE("read_write_lock: readers do not pass a writer that is first in line, unless they read already") {
  Lock lock;  // unfair
  std::atomic<bool> wrote{false};
  lock.lock_shared();
  Thread writer = on_platform([&] {
    lock.lock();
    wrote = true;
    lock.unlock();
  });
  await_state(writer, ThreadState::Waiting);
  lock.lock_shared();  // again: must not wait for the writer, which waits for us
  std::atomic<bool> after_writer{false};
  Thread reader = on_platform([&] {
    CHECK_FALSE(lock.try_lock_shared(2ms));
    CHECK(lock.try_lock_shared());  // Java's barging form
    lock.unlock_shared();
    lock.lock_shared();
    after_writer = wrote.load();
    lock.unlock_shared();
  });
  await_state(reader, ThreadState::Waiting);
  lock.unlock_shared();
  lock.unlock_shared();
  CHECK(writer.join(20s));
  CHECK(reader.join(20s));
  CHECK(after_writer);
}

TEST_CASE("read_write_lock: a writer that gives up lets the readers behind it in") {
  Lock lock;
  lock.lock_shared();
  Thread writer =
      on_platform([&] { CHECK_THROWS_AS(lock.write_lock().lock_interruptibly(), creel::InterruptedError); });
  await_state(writer, ThreadState::Waiting);
  Thread reader = on_platform([&] { std::shared_lock guard{lock}; });
  await_state(reader, ThreadState::Waiting);
  writer.interrupt();
  CHECK(writer.join(20s));
  CHECK(reader.join(20s));
  lock.unlock_shared();
  Thread late = on_platform([&] { std::shared_lock guard{lock}; });
  CHECK(late.join(20s));
}

TEST_CASE("read_write_lock: a fair one serves in order of arrival, neighbouring readers together") {
  Lock lock{Lock::Fairness::Fair};
  CHECK(lock.is_fair());
  std::string order;
  std::mutex order_lock;
  const auto note = [&](char c) {
    const std::lock_guard guard{order_lock};
    order += c;
  };
  std::vector<Thread> threads;
  lock.lock();
  const auto add = [&](char c, bool reads) {
    threads.push_back(Thread::of_virtual().start([&lock, &note, c, reads] {
      if (reads) {
        std::shared_lock guard{lock};
        note(c);
      } else {
        std::unique_lock guard{lock};
        note(c);
      }
    }));
    await_state(threads.back(), ThreadState::Waiting);
  };
  add('r', true);
  add('r', true);
  add('W', false);
  add('x', true);
  add('V', false);
  lock.unlock();
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(order == "rrWxV");
}

TEST_CASE("read_write_lock: conditions of the write side") {
  Lock lock;
  creel::Condition changed{lock.write_lock(), "changed"};
  CHECK_THROWS_AS(changed.signal(), creel::Error);
  CHECK_THROWS_AS(changed.signal_all(), creel::Error);
  CHECK_THROWS_AS(changed.await(1ms), creel::Error);
  lock.lock();
  CHECK_FALSE(changed.await(2ms));
  lock.lock_shared();
  CHECK_THROWS_WITH_AS(changed.await(), doctest::Contains("also reads"), creel::Error);
  lock.unlock_shared();
  bool ready = false;
  Thread waiter = on_platform([&] {
    lock.lock();
    lock.lock();
    changed.await([&] { return ready; });
    CHECK(lock.write_hold_count() == 2);
    lock.unlock();
    lock.unlock();
  });
  lock.unlock();
  await_state(waiter, ThreadState::Waiting);
  Thread interrupted = on_platform([&] {
    std::unique_lock guard{lock};
    CHECK_THROWS_AS(changed.await(), creel::InterruptedError);
    CHECK(lock.is_write_locked_by_current_thread());
  });
  await_state(interrupted, ThreadState::Waiting);
  interrupted.interrupt();
  CHECK(interrupted.join(20s));
  lock.lock();
  CHECK(lock.has_waiters(changed));
  ready = true;
  changed.signal();
  CHECK_FALSE(lock.has_waiters(changed));
  lock.unlock();
  CHECK(waiter.join(20s));
  auto made = lock.write_lock().condition("made");
  lock.lock();
  CHECK(lock.wait_queue_length(made) == 0);
  lock.unlock();
}

TEST_CASE("read_write_lock: dumps know what is held and for whom a thread waits, also when that one leaves") {
  Lock lock{"routes"};
  std::atomic<int> step{0};
  const auto hold_until = [&](int end) {
    return on_platform([&, end] {
      std::shared_lock guard{lock};
      const auto& record = creel::detail::current_record();
      REQUIRE(record.own().held_count == 1);
      ++step;
      while (step < end) Thread::yield();
    });
  };
  Thread first = hold_until(10);
  CHECK(creel_test::eventually([&] { return step == 1; }));
  Thread second = hold_until(20);
  CHECK(creel_test::eventually([&] { return step == 2; }));
  Thread writer = on_platform([&] { std::unique_lock guard{lock}; });
  await_state(writer, ThreadState::Waiting);
  const auto owner = [&](const Thread& thread) { return thread.record()->park_site.owner.load()->load(); };
  CHECK(std::string(writer.record()->park_site.type.load()) == "creel::ReentrantReadWriteLock.WriteLock");
  CHECK(owner(writer) == first.id());
  Thread reader = on_platform([&] { std::shared_lock guard{lock}; });
  await_state(reader, ThreadState::Waiting);
  CHECK(owner(reader) == writer.id());  // it stands behind the writer
  step = 10;
  CHECK(first.join(20s));
  CHECK(owner(writer) == second.id());
  step = 20;
  for (const Thread& thread : {second, writer, reader}) CHECK(thread.join(20s));
  lock.lock();
  Thread last = on_platform([&] { std::shared_lock guard{lock}; });
  await_state(last, ThreadState::Waiting);
  CHECK(owner(last) == Thread::current().id());
  lock.unlock();
  CHECK(last.join(20s));
}

TEST_CASE("read_write_lock: a deadlock through a reader and a queued writer is found") {
  Lock lock{"routes"};
  creel::Monitor monitor{"table"};
  monitor.lock();
  Thread reads_then_enters = on_platform([&] {
    std::shared_lock guard{lock};
    creel::synchronized(monitor, [] {});
  });
  await_state(reads_then_enters, ThreadState::Blocked);
  Thread writer = on_platform([&] { std::unique_lock guard{lock}; });
  await_state(writer, ThreadState::Waiting);
  Thread helper = on_platform([&, main = Thread::current()] {
    await_state(main, ThreadState::Waiting);
    CHECK(creel_test::eventually([] { return !creel::find_deadlocks().empty(); }));
    const auto found = creel::find_deadlocks();
    if (!found.empty()) CHECK(found[0].threads.size() == 3);
    main.interrupt();
  });
  // Holds the monitor and wants to read behind a writer that waits for a reader that wants the monitor.
  CHECK_THROWS_AS(lock.read_lock().lock_interruptibly(), creel::InterruptedError);
  monitor.unlock();
  for (const Thread& thread : {reads_then_enters, writer, helper}) CHECK(thread.join(20s));
}

TEST_CASE("read_write_lock: stress: pairs stay equal, nobody starves, platform and virtual threads") {
  for (const auto fairness : {Lock::Fairness::Unfair, Lock::Fairness::Fair}) {
    Lock lock{fairness};
    long a = 0;
    long b = 0;
    std::atomic<bool> torn{false};
    std::vector<Thread> threads;
    for (int t = 0; t < 8; ++t) {
      auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
      threads.push_back(builder.start([&, t] {
        for (int i = 0; i < 1500; ++i) {
          if ((i + t) % 4 == 0) {
            std::unique_lock guard{lock};
            ++a;
            if (i % 16 == 0) Thread::yield();
            if (i % 8 == 0) {  // downgrade
              lock.lock_shared();
              ++b;
              guard.unlock();
              if (a != b) torn = true;
              lock.unlock_shared();
            } else {
              ++b;
            }
          } else if (i % 5 == 0) {
            if (lock.try_lock_shared(1ms)) {
              if (a != b) torn = true;
              lock.unlock_shared();
            }
          } else {
            std::shared_lock guard{lock};
            if (a != b) torn = true;
            if (i % 16 == 1) Thread::yield();
          }
        }
      }));
    }
    for (const Thread& thread : threads) CHECK(thread.join(60s));
    CHECK_FALSE(torn);
    CHECK(a == 8 * 1500 / 4);
    CHECK(lock.read_lock_count() == 0);
    CHECK_FALSE(lock.is_write_locked());
  }
}

TEST_CASE("read_write_lock: what a thread does not hold it cannot give back, and others' holds stay") {
  creel::ReentrantReadWriteLock lock{"table"};
  CHECK_THROWS_AS(lock.read_lock().unlock(), creel::Error);
  CHECK_THROWS_AS(lock.write_lock().unlock(), creel::Error);
  creel::CountDownLatch held{1}, release{1};
  const Thread reader = Thread::of_platform().start([&] {
    const std::scoped_lock guard{lock.read_lock()};
    held.count_down();
    release.await();
  });
  held.await();
  CHECK_THROWS_AS(lock.read_lock().unlock(), creel::Error);
  CHECK(lock.read_lock_count() == 1);
  CHECK_FALSE(lock.write_lock().try_lock());
  CHECK_FALSE(lock.write_lock().try_lock(-1s));
  Thread::current().interrupt();
  CHECK_THROWS_AS(lock.read_lock().try_lock(0ms), creel::InterruptedError);
  CHECK_FALSE(Thread::interrupted());
  release.count_down();
  CHECK(reader.join(20s));
}

TEST_CASE("read_write_lock: it says when it cannot count further") {
  creel::ReentrantReadWriteLock lock{"loop"};
  constexpr std::uint32_t kMost = creel::detail::LockCore::kMostHolds;
  lock.write_lock().lock();
  creel::detail::HoldCounts::of_writer(lock) = kMost - 1;
  lock.write_lock().lock();  // the last one that counts
  CHECK_THROWS_AS(lock.write_lock().lock(), creel::Error);
  CHECK_THROWS_AS(lock.write_lock().try_lock(), creel::Error);
  CHECK(lock.write_hold_count() == kMost);
  creel::detail::HoldCounts::of_writer(lock) = 1;
  lock.write_lock().unlock();

  lock.read_lock().lock();
  std::uint32_t& reads = creel::detail::current_record().own().read_holds->back().count;
  reads = kMost - 1;
  lock.read_lock().lock();
  CHECK_THROWS_AS(lock.read_lock().lock(), creel::Error);
  CHECK_THROWS_AS(lock.read_lock().try_lock(), creel::Error);
  CHECK(lock.read_hold_count() == kMost);
  reads = 2;  // as often as the lock knows of
  lock.read_lock().unlock();
  lock.read_lock().unlock();
  CHECK(lock.write_lock().try_lock());
  lock.write_lock().unlock();
}
