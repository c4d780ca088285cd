#include "deadlock_search.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/deadlock.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/future.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/linked_transfer_queue.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/priority_blocking_queue.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/synchronous_queue.hpp>
#include <creel/runtime/task_scope.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/waker_set.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <latch>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using creel::LockSupport;
using creel::Thread;
using creel::ThreadState;
using creel::detail::find_knots;
using creel::detail::WaitGraph;
using creel_test::eventually;

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

// The deadlock that comes about within seconds; without threads if none does.
creel::Deadlock await_deadlock() {
  std::vector<creel::Deadlock> found;
  eventually([&] { return !(found = creel::find_deadlocks()).empty(); });
  return found.empty() ? creel::Deadlock{} : found.front();
}

std::set<std::string> names(const creel::Deadlock& deadlock) {
  std::set<std::string> all;
  for (const creel::DeadlockedThread& each : deadlock.threads) all.insert(each.name);
  return all;
}

const creel::DeadlockedThread& thread_of(const creel::Deadlock& deadlock, std::string_view name) {
  const auto found = std::find_if(deadlock.threads.begin(), deadlock.threads.end(),
                                  [name](const auto& each) { return each.name == name; });
  REQUIRE(found != deadlock.threads.end());
  return *found;
}

template <typename Body>
void until_interrupted(Body body) {
  try {
    body();
  } catch (const creel::InterruptedError&) {
  }
}

// A buffer whose users are declared, and who wait in it until they are interrupted.
struct Buffer {
  creel::WakerSet users;
  std::atomic<bool> filled{false};

  void take() {
    while (!filled && !Thread::interrupted()) {
      LockSupport::park({.object = this, .type = "Buffer", .wakers = &users});
    }
  }
};

}  // namespace

TEST_CASE("knots of a graph are found once each, with nobody who only waits for them") {
  CHECK(find_knots({}).empty());
  CHECK(find_knots(WaitGraph{{}, {0}, {1}}).empty());
  CHECK(find_knots(WaitGraph{{0}}).size() == 1);
  const auto cycles = find_knots(WaitGraph{{1}, {2}, {0}, {0}, {5}, {4}, {}, {6}});
  REQUIRE(cycles.size() == 2);
  CHECK(cycles[0] == std::vector<std::size_t>{0, 1, 2});
  CHECK(cycles[1] == std::vector<std::size_t>{4, 5});
}

TEST_CASE("who can be served by several is stuck only if all of them are") {
  CHECK(find_knots(WaitGraph{{1, 2}, {0}, {}}).empty());       // 2 is free to serve 0
  CHECK(find_knots(WaitGraph{{1, 2}, {0}, {3}, {}}).empty());  // 2 waits for one that is free
  const auto both = find_knots(WaitGraph{{1, 2}, {0}, {0}, {1}});
  REQUIRE(both.size() == 1);
  CHECK(both[0] == std::vector<std::size_t>{0, 1, 2});
  // 0 waits for two deadlocks and is part of neither.
  const auto apart = find_knots(WaitGraph{{1, 2}, {1}, {2}});
  REQUIRE(apart.size() == 2);
  CHECK(apart[0] == std::vector<std::size_t>{1});
  CHECK(apart[1] == std::vector<std::size_t>{2});
  WaitGraph chain(100'000);  // as long as there are threads
  CHECK(find_knots(WaitGraph{{1, 3}, {2}, {1}, {4}, {3, 0}}).size() == 1);
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) chain[i] = {i + 1};
  chain.back() = {chain.size() - 2};
  CHECK(find_knots(chain).size() == 1);
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

TEST_CASE("a deadlock as text: one paragraph a thread, with what it waits for and who holds that") {
  using creel::WaitKind;
  const creel::LockInfo desk{0x10, "creel::Monitor", "desk", 2, "b"};
  const creel::LockInfo end{0x20, "creel::Thread", "c", 3, "c"};
  const creel::LockInfo work{0x30, "creel::ArrayBlockingQueue", "", 0, ""};
  const creel::Deadlock deadlock{{{1, "a", WaitKind::MonitorEnter, desk, {}},
                                  {2, "b", WaitKind::Joining, end, {}},
                                  {3, "c", WaitKind::Parking, work, {"a", "b"}}}};
  CHECK(to_string(deadlock) ==
        "\"a\":\n  waiting to lock monitor 0x0000000000000010 (object 0x0000000000000010, a creel::Monitor "
        "\"desk\"),\n  which is held by \"b\"\n\n"
        "\"b\":\n  waiting for the end of 0x0000000000000020, (a creel::Thread \"c\"),\n  which is \"c\"\n\n"
        "\"c\":\n  waiting for ownable synchronizer 0x0000000000000030, (a creel::ArrayBlockingQueue),\n"
        "  which is served by \"a\", \"b\"\n\n");
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

TEST_CASE("a deadlock between a virtual and a platform thread is found") {
  creel::Monitor left{"left"};
  creel::ReentrantLock right{"right"};
  std::latch both(2);
  const Thread light = Thread::of_virtual().name("light").start([&] {
    const std::scoped_lock holding{left};
    both.arrive_and_wait();
    until_interrupted([&] {
      right.lock_interruptibly();
      right.unlock();
    });
  });
  const Thread heavy = Thread::of_platform().name("heavy").start([&] {
    const std::scoped_lock holding{right};
    both.arrive_and_wait();
    const std::scoped_lock wanted{left};
  });
  const creel::Deadlock found = await_deadlock();
  CHECK(names(found) == std::set<std::string>{"heavy", "light"});
  CHECK(thread_of(found, "heavy").wait == creel::WaitKind::MonitorEnter);
  CHECK(thread_of(found, "heavy").lock.owner == light.id());
  light.interrupt();
  light.join();
  heavy.join();
}

TEST_CASE("a deadlock through a future is found: its work wants a lock of the one that waits for it") {
  creel::ReentrantLock lock{"state"};  // before the pool, whose worker has it to the end
  const auto pool =
      creel::executors::new_fixed_thread_pool(1, Thread::of_platform().name("worker").factory());
  const Thread getter = Thread::of_platform().name("getter").start([&] {
    const std::scoped_lock holding{lock};
    const creel::Future<void> work = pool->submit([&] { const std::scoped_lock wanted{lock}; });
    until_interrupted([&] { work.get(); });
  });
  const creel::Deadlock found = await_deadlock();
  CHECK(names(found) == std::set<std::string>{"getter", "worker"});
  CHECK(thread_of(found, "getter").lock.type == "creel::Future");
  CHECK(thread_of(found, "worker").lock.name == "state");
  getter.interrupt();
  getter.join();
}

TEST_CASE("a deadlock through a promise is found when it says who produces it") {
  creel::ReentrantLock lock{"state"};
  creel::Promise<int> promise;
  const Thread getter = Thread::of_platform().name("getter").start([&] {
    const std::scoped_lock holding{lock};
    until_interrupted([&] { promise.future().get(); });
  });
  REQUIRE(eventually([&] { return getter.state() == ThreadState::Waiting; }));
  const Thread producer = Thread::of_platform().name("producer").start([&] {
    const std::scoped_lock wanted{lock};
    promise.set_value(1);
  });
  REQUIRE(eventually([&] { return producer.state() == ThreadState::Waiting; }));
  CHECK(creel::find_deadlocks().empty());
  promise.produced_by(producer);
  CHECK(names(await_deadlock()) == std::set<std::string>{"getter", "producer"});
  getter.interrupt();
  getter.join();
  producer.join();
}

TEST_CASE("a deadlock through a queue is found when its users are declared, and all of them wait") {
  creel::ReentrantLock lock{"state"};
  Buffer buffer;
  std::atomic<bool> may_wait{false};
  const Thread taker = Thread::of_platform().name("taker").start([&] {
    const std::scoped_lock holding{lock};
    buffer.take();
  });
  REQUIRE(eventually([&] { return taker.state() == ThreadState::Waiting; }));
  const auto fill = [&] {
    const std::scoped_lock wanted{lock};
    buffer.filled = true;
  };
  const Thread first = Thread::of_platform().name("filler-1").start(fill);
  const Thread second = Thread::of_virtual().name("filler-2").start([&] {
    while (!may_wait) Thread::sleep(1ms);
    fill();
  });
  REQUIRE(eventually([&] { return first.state() == ThreadState::Waiting; }));
  CHECK(creel::find_deadlocks().empty());  // nobody says who fills the buffer
  buffer.users.assign(std::array{taker, first, second});
  for (int i = 0; i < 100; ++i) CHECK(creel::find_deadlocks().empty());  // the second filler is on its way
  may_wait = true;
  const creel::Deadlock found = await_deadlock();
  CHECK(names(found) == std::set<std::string>{"filler-1", "filler-2", "taker"});
  const creel::DeadlockedThread& waits = thread_of(found, "taker");
  CHECK(waits.lock.type == "Buffer");
  CHECK(waits.lock.owner == 0);
  CHECK(waits.wakers == std::vector<std::string>{"taker", "filler-1", "filler-2"});
  taker.interrupt();
  taker.join();
  first.join();
  second.join();
  CHECK(creel::find_deadlocks().empty());
}

TEST_CASE("a deadlock through a creel queue is found when it says who uses it") {
  const auto check = [](auto& queue, bool full, const std::string& type, const std::string& lack) {
    creel::ReentrantLock lock{"state"};
    creel::CountDownLatch holds{1};
    const Thread waiter = Thread::of_platform().name("waiter").start([&] {
      const std::scoped_lock holding{lock};
      holds.count_down();
      until_interrupted([&] {
        if (full) {
          queue.put(2);
        } else {
          queue.take();
        }
      });
    });
    holds.await();
    const Thread other = Thread::of_virtual().name("other").start([&] {
      const std::scoped_lock wanted{lock};
      queue.close();
    });
    REQUIRE(eventually(
        [&] { return waiter.state() == ThreadState::Waiting && other.state() == ThreadState::Waiting; }));
    CHECK(creel::find_deadlocks().empty());
    queue.used_by(std::array{waiter, other});
    const creel::Deadlock found = await_deadlock();
    CHECK(names(found) == std::set<std::string>{"other", "waiter"});
    CHECK(thread_of(found, "waiter").lock.type == type);
    CHECK(thread_of(found, "waiter").lock.name == lack);
    queue.used_by(std::array{waiter, other, Thread::current()});
    CHECK(creel::find_deadlocks().empty());
    waiter.interrupt();
    waiter.join();
    other.join();
  };
  creel::ArrayBlockingQueue<int> array{1, creel::from_range, std::array{1}, "jobs"};
  check(array, true, "creel::ArrayBlockingQueue", "jobs, full");
  creel::LinkedBlockingQueue<int> linked{8, "jobs"};
  check(linked, false, "creel::LinkedBlockingQueue", "jobs, empty");
  creel::PriorityBlockingQueue<int> priority{"jobs"};
  check(priority, false, "creel::PriorityBlockingQueue", "jobs, empty");
  creel::SynchronousQueue<int> door{"door"};
  check(door, true, "creel::SynchronousQueue", "door, no taker");
  creel::LinkedTransferQueue<int> transfers{"jobs"};
  check(transfers, false, "creel::LinkedTransferQueue", "jobs, empty");
}

TEST_CASE(
    "a deadlock between a scope's owner and a subtask is found, once no other subtask can end the wait") {
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    creel::ReentrantLock lock{"state"};
    creel::CountDownLatch release{1};
    const Thread owner = builder.name("owner").start([&] {
      const std::scoped_lock holding{lock};
      creel::TaskScope scope{
          creel::joiners::await_all(),
          {.name = "request", .factory = Thread::of_virtual().name("subtask-", 0).factory()}};
      scope.fork([&] { until_interrupted([&] { lock.lock_interruptibly(); }); });
      scope.fork([&] { release.await(1h); });
      until_interrupted([&] { scope.join(); });
    });
    REQUIRE(eventually([&] { return owner.state() == ThreadState::Waiting; }));
    for (int i = 0; i < 100; ++i) CHECK(creel::find_deadlocks().empty());  // a subtask is not stuck
    release.count_down();
    const creel::Deadlock found = await_deadlock();
    CHECK(names(found) == std::set<std::string>{"owner", "subtask-0"});
    CHECK(thread_of(found, "owner").lock.type == "creel::TaskScope");
    CHECK(thread_of(found, "owner").lock.name == "request");
    CHECK(thread_of(found, "subtask-0").lock.name == "state");
    owner.interrupt();
    owner.join();
    CHECK(creel::find_deadlocks().empty());
  }
}

TEST_CASE("scopes whose subtasks come, fail and go are never taken for deadlocks") {
  std::atomic<bool> done{false};
  const Thread owner = Thread::of_virtual().name("owner").start([&] {
    creel::ReentrantLock lock;
    while (!done) {
      creel::TaskScope scope{creel::joiners::await_all()};
      for (int i = 0; i < 20; ++i) {
        scope.fork([&] {
          const std::scoped_lock guard{lock};
          Thread::yield();
        });
      }
      scope.join();
    }
  });
  for (int i = 0; i < 1'000; ++i) REQUIRE(creel::find_deadlocks().empty());
  done = true;
  owner.join();
}

TEST_CASE("whoever has been woken is not deadlocked, though it has not moved yet") {
  // The taker is woken with every element, and both wait for each other in turn: never at once.
  Buffer there, back;
  std::atomic<bool> done{false};
  const auto pass = [&](Buffer& from, Buffer& to, const Thread& other) {
    while (!done) {
      while (!from.filled.exchange(false) && !done) {
        LockSupport::park({.object = &from, .type = "Buffer", .wakers = &from.users});
      }
      to.filled = true;
      LockSupport::unpark(other);
    }
  };
  Thread ping, pong;
  std::latch started(1);
  ping = Thread::of_platform().name("ping").start([&] {
    started.wait();
    pass(there, back, pong);
  });
  pong = Thread::of_platform().name("pong").start([&] {
    started.wait();
    pass(back, there, ping);
  });
  there.users.assign(std::array{pong});
  back.users.assign(std::array{ping});
  there.filled = true;
  started.count_down();
  for (int i = 0; i < 2'000; ++i) REQUIRE(creel::find_deadlocks().empty());
  done = true;
  LockSupport::unpark(ping);
  LockSupport::unpark(pong);
  ping.join();
  pong.join();
}

TEST_CASE("a set without a living thread says nothing") {
  Buffer buffer;
  const Thread ended = Thread::of_platform().start([] {});
  ended.join();
  buffer.users.assign(std::array{ended});
  const Thread taker = Thread::of_platform().start([&] { buffer.take(); });
  REQUIRE(eventually([&] { return taker.state() == ThreadState::Waiting; }));
  CHECK(creel::find_deadlocks().empty());
  buffer.users.assign(std::array{ended, taker});  // now it waits for itself alone
  CHECK(await_deadlock().threads.size() == 1);
  taker.interrupt();
  taker.join();
}

TEST_CASE("a deadlock through a std::mutex, with a thread that creel has not started, is found") {
  std::mutex mutex;
  std::shared_mutex shared;
  for (const bool reads : {false, true}) {
    CAPTURE(reads);
    creel::ReentrantLock lock{"state"};
    std::latch both(2);
    Thread adopted;
    std::thread foreign([&] {
      adopted = Thread::adopt_current("foreign");
      mutex.lock();
      shared.lock();
      both.arrive_and_wait();
      until_interrupted([&] {
        lock.lock_interruptibly();
        lock.unlock();
      });
      shared.unlock();
      mutex.unlock();
    });
    const Thread own = Thread::of_platform().name("own").start([&] {
      const std::scoped_lock holding{lock};
      both.arrive_and_wait();
      if (reads) {
        const std::shared_lock wanted{shared};
      } else {
        const std::lock_guard wanted{mutex};
      }
    });
    const creel::Deadlock found = await_deadlock();
    CHECK(names(found) == std::set<std::string>{"foreign", "own"});
    const creel::DeadlockedThread& waits = thread_of(found, "own");
    CHECK(waits.lock.type == (reads ? "std::shared_mutex" : "std::mutex"));
    CHECK(waits.lock.address ==
          (reads ? reinterpret_cast<std::uintptr_t>(&shared) : reinterpret_cast<std::uintptr_t>(&mutex)));
    CHECK(waits.lock.owner_name == "foreign");
    adopted.interrupt();
    foreign.join();
    own.join();
  }
}

TEST_CASE("a virtual thread that blocks its carrier in a std::mutex is found in a deadlock") {
  std::mutex mutex;
  creel::ReentrantLock lock{"state"};
  std::latch both(2);
  const Thread heavy = Thread::of_platform().name("heavy").start([&] {
    const std::lock_guard holding{mutex};
    both.arrive_and_wait();
    until_interrupted([&] {
      lock.lock_interruptibly();
      lock.unlock();
    });
  });
  const Thread light = Thread::of_virtual().name("light").start([&] {
    const std::scoped_lock holding{lock};
    creel::blocking("std::latch", [&] { both.arrive_and_wait(); });
    creel::blocking("std::mutex", [&] { const std::lock_guard wanted{mutex}; });
  });
  CHECK(names(await_deadlock()) == std::set<std::string>{"heavy", "light"});
  heavy.interrupt();
  heavy.join();
  light.join();
}

TEST_CASE("a deadlock among threads that are all foreign is found") {
  if (!creel_test::kChildMayStartThreads) return;
  const pid_t child = ::fork();  // two threads that never end
  if (child == 0) {
    static std::mutex left, right;
    static std::latch both(2);
    for (const bool first : {true, false}) {
      std::thread([first] {
        const std::lock_guard holding{first ? left : right};
        both.arrive_and_wait();
        const std::lock_guard wanted{first ? right : left};
      }).detach();
    }
    const creel::Deadlock found = await_deadlock();
    const bool good = found.threads.size() == 2 && found.threads[0].lock.type == "std::mutex" &&
                      found.threads[0].lock.owner == found.threads[1].id && found.threads[1].id != 0;
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("contended std::mutexes taken in order are no deadlock, nor is one with a deadline") {
  std::array<std::mutex, 3> mutexes;
  std::timed_mutex timed;
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        const std::scoped_lock outer{mutexes[0]};
        const std::scoped_lock inner{mutexes[1]};
        const std::scoped_lock innermost{mutexes[2]};
      }
    });
  }
  for (int i = 0; i < 200; ++i) REQUIRE(creel::find_deadlocks().empty());
  done = true;
  for (std::thread& thread : threads) thread.join();

  timed.lock();
  creel::ReentrantLock lock{"state"};
  std::latch holds(1);
  std::atomic<bool> gave_up{false};
  const Thread patient = Thread::of_platform().start([&] {
    const std::scoped_lock holding{lock};
    holds.count_down();
    gave_up = !timed.try_lock_for(300ms);
  });
  holds.wait();
  const Thread watcher = Thread::of_platform().start([&] {
    while (!gave_up) CHECK(creel::find_deadlocks().empty());
  });
  {
    const std::scoped_lock wanted{lock};  // a cycle, until the other's time is over
  }
  timed.unlock();
  patient.join();
  watcher.join();
}
