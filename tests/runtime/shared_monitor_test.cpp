#include "creel_test/await_state.hpp"
#include "creel_test/both_kinds.hpp"
#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"
#include "creel_test/shared_processes.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/shared_monitor.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::SharedMonitor;
using creel::SharedSegment;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;
using creel_test::eventually;
using creel_test::kForks;
using creel_test::SegmentName;
using creel_test::TestProcess;

TEST_CASE("a SharedMonitor is reentrant, refuses wrong owners and tells who is inside") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedMonitor monitor{segment, "m"};
  creel_test::on_both_kinds([&] {
    CHECK_FALSE(monitor.owner());
    CHECK_FALSE(monitor.is_held_by_current_thread());
    monitor.lock();
    CHECK(monitor.try_lock());
    CHECK(monitor.try_lock(1s));
    CHECK(monitor.is_held_by_current_thread());
    const auto owner = monitor.owner();
    REQUIRE(owner);
    CHECK(owner->pid == ::getpid());
    CHECK(owner->thread_id == Thread::current().id());
    CHECK(owner->thread_name == Thread::current_name());
    CHECK(owner->is_alive);
    Thread::of_platform()
        .start([&] {
          CHECK_FALSE(monitor.try_lock());
          CHECK_FALSE(monitor.try_lock(10ms));
          CHECK_FALSE(monitor.is_held_by_current_thread());
          CHECK_THROWS_WITH_AS(monitor.unlock(), doctest::Contains("does not hold it"), creel::Error);
          CHECK_THROWS_AS(monitor.wait(), creel::Error);
          CHECK_THROWS_AS(monitor.notify_one(), creel::Error);
          CHECK_THROWS_AS(monitor.notify_all(), creel::Error);
        })
        .join();
    monitor.unlock();
    monitor.unlock();
    CHECK(monitor.is_held_by_current_thread());
    monitor.unlock();
    CHECK_THROWS_AS(monitor.unlock(), creel::Error);
  });
}

TEST_CASE("two objects for one monitor are one monitor, other names are others; destroy makes room") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto other_mapping = SharedSegment::open(name.text);
  REQUIRE(other_mapping);
  {
    SharedMonitor first{segment, "m"};
    SharedMonitor second{*other_mapping, "m"};
    SharedMonitor different{segment, "n"};
    first.lock();
    CHECK(second.is_held_by_current_thread());
    CHECK_FALSE(different.is_held_by_current_thread());
    second.lock();
    second.unlock();
    second.unlock();
    CHECK_FALSE(first.is_held_by_current_thread());
    segment.construct<int>("i", 1);
    CHECK_THROWS_WITH_AS(SharedMonitor(segment, "i"), doctest::Contains("another type"), creel::Error);
  }
  CHECK(SharedMonitor::destroy(segment, "m"));
  CHECK_FALSE(SharedMonitor::destroy(segment, "m"));
}

TEST_CASE("the monitor's threads exclude each other, platform and virtual") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedMonitor monitor{segment, "m"};
  long counter = 0;  // plain: the sanitizer's business, too
  constexpr int kRounds = creel_test::kThreadSanitizer ? 500 : 5000;
  std::vector<Thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.push_back((i % 2 == 0 ? Thread::of_platform() : Thread::of_virtual()).start([&] {
      for (int round = 0; round < kRounds; ++round) {
        creel::synchronized(monitor, [&] {
          ++counter;
          if (round % 64 == 0) Thread::yield();
        });
      }
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(counter == 4 * kRounds);
}

TEST_CASE("try_lock with a deadline ends by interrupt, lock does not") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedMonitor monitor{segment, "m"};
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    monitor.lock();
    std::atomic<bool> interrupted{false}, entered{false};
    const Thread timed = builder.start([&] {
      try {
        monitor.try_lock(60s);
      } catch (const creel::InterruptedError&) {
        interrupted = !Thread::interrupted();
      }
    });
    const Thread patient = builder.start([&] {
      const std::lock_guard guard{monitor};
      entered = Thread::interrupted();
    });
    await_state(timed, ThreadState::Blocked);
    await_state(patient, ThreadState::Blocked);
    timed.interrupt();
    patient.interrupt();
    CHECK(timed.join(30s));
    CHECK(interrupted);
    CHECK_FALSE(patient.join(20ms));
    monitor.unlock();
    CHECK(patient.join(30s));
    CHECK(entered);
  }
}

TEST_CASE("wait ends by notify, deadline and interrupt, with the monitor as often held as before") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedMonitor monitor{segment, "m"};
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    bool go = false;
    std::atomic<int> right{0};
    const Thread waiter = builder.start([&] {
      const std::lock_guard outer{monitor};
      const std::lock_guard inner{monitor};
      right += monitor.wait([&] { return go; }) ? 1 : 0;
      right += monitor.is_held_by_current_thread() ? 1 : 0;
    });
    await_state(waiter, ThreadState::Waiting);
    CHECK(monitor.try_lock(10s));  // it has left
    go = true;
    monitor.notify_one();
    CHECK_FALSE(waiter.join(20ms));  // not before we leave
    monitor.unlock();
    CHECK(waiter.join(30s));
    CHECK(right == 2);
    CHECK(monitor.try_lock());  // both levels are undone
    CHECK_FALSE(monitor.wait(5ms));
    CHECK_FALSE(monitor.wait([] { return false; }, 5ms));
    Thread::current().interrupt();
    CHECK_THROWS_AS(monitor.wait(), creel::InterruptedError);
    CHECK(monitor.is_held_by_current_thread());
    monitor.unlock();
    std::atomic<bool> interrupted{false};
    const Thread victim = builder.start([&] {
      const std::lock_guard guard{monitor};
      try {
        while (monitor.wait(60s)) {
        }
      } catch (const creel::InterruptedError&) {
        interrupted = monitor.is_held_by_current_thread() && !Thread::interrupted();
      }
    });
    await_state(victim, ThreadState::TimedWaiting);
    victim.interrupt();
    CHECK(victim.join(30s));
    CHECK(interrupted);
  }
}

TEST_CASE("notify_one lets one waiting thread go, notify_all every one, and neither those who come later") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedMonitor monitor{segment, "m"};
  std::atomic<int> gone{0};
  std::vector<Thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.push_back((i % 2 == 0 ? Thread::of_platform() : Thread::of_virtual()).start([&] {
      const std::lock_guard guard{monitor};
      monitor.wait();
      ++gone;
    }));
    await_state(threads.back(), ThreadState::Waiting);
  }
  creel::synchronized(monitor, [&] { monitor.notify_one(); });
  CHECK(eventually([&] { return gone == 1; }));
  creel::synchronized(monitor, [&] {
    monitor.notify_one();
    monitor.notify_one();
  });
  CHECK(eventually([&] { return gone == 3; }));
  const auto alive = [&] {
    return std::count_if(threads.begin(), threads.end(), [](const Thread& t) { return t.is_alive(); });
  };
  CHECK(eventually([&] { return alive() <= 5; }));  // who has counted is about to end
  CHECK(alive() == 5);
  creel::synchronized(monitor, [&] {
    monitor.notify_all();
    CHECK_FALSE(monitor.wait(5ms));  // we came later
  });
  for (const Thread& thread : threads) CHECK(thread.join(30s));
  CHECK(gone == 8);
  creel::synchronized(monitor, [&] {
    monitor.notify_one();  // for nobody: it is not kept
    CHECK_FALSE(monitor.wait(5ms));
  });
}

TEST_CASE("virtual threads by the ten thousand wait on a SharedMonitor, and few platform threads are there") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedMonitor monitor{segment, "m"};
  constexpr std::size_t kCrowd = creel_test::kThreadSanitizer ? 300 : 10'000;
  bool open = false;
  std::atomic<std::size_t> waiting{0}, through{0};
  std::vector<Thread> threads;
  for (std::size_t i = 0; i < kCrowd; ++i) {
    threads.push_back(Thread::start_virtual_thread([&] {
      const std::lock_guard guard{monitor};
      ++waiting;
      monitor.wait([&] { return open; });
      ++through;
    }));
  }
  CHECK(eventually([&] { return waiting == kCrowd; }, 60s));
  const auto all = Thread::all();
  CHECK(std::count_if(all.begin(), all.end(), [](const Thread& t) { return !t.is_virtual(); }) < 64);
  monitor.lock();  // the last one has left
  open = true;
  monitor.notify_all();
  monitor.unlock();
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(through == kCrowd);
}

TEST_CASE("a dump names the owner in another process, and one in this one as of any monitor") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& stage = segment.construct<std::atomic<int>>("stage", 0);
  SharedMonitor monitor{segment, "accounts"};
  TestProcess holder([&] {
    Thread::of_platform()
        .name("bookkeeper")
        .start([&] {
          const std::lock_guard guard{monitor};
          stage = 1;
          creel_test::stay();
        })
        .join();
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  const auto owner = monitor.owner();
  REQUIRE(owner);
  CHECK(owner->pid == holder.pid());
  CHECK(owner->thread_name == "bookkeeper");
  CHECK(owner->is_alive);
  const Thread waiter = Thread::of_virtual().name("teller").start(
      [&] { CHECK_THROWS_AS(monitor.try_lock(60s), creel::OwnerDiedError); });
  await_state(waiter, ThreadState::Blocked);
  const creel::ThreadDump dump = creel::ThreadDump::take();
  const std::string held = "held by \"bookkeeper\" #" + std::to_string(owner->thread_id) + " of process " +
                           std::to_string(holder.pid());
  CHECK_MESSAGE(dump.to_text().find(held) != std::string::npos, dump.to_text());
  CHECK(dump.to_text().find("(a creel::SharedMonitor \"accounts\")") != std::string::npos);
  CHECK(dump.to_json().find("\"ownerProcess\": \"" + std::to_string(holder.pid())) != std::string::npos);
  holder.kill();
  CHECK(waiter.join(30s));
}

TEST_CASE("processes exclude each other and notify each other") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& counter = segment.construct<long>("counter", 0);
  auto& turn = segment.construct<int>("turn", 0);
  SharedMonitor monitor{segment, "m"};
  constexpr int kProcesses = 3, kRounds = 2000, kTurns = 60;
  std::vector<TestProcess> processes;
  for (int p = 0; p < kProcesses; ++p) {
    processes.emplace_back([&, p] {
      for (int i = 0; i < kRounds; ++i) creel::synchronized(monitor, [&] { ++counter; });
      for (int i = 0; i < kTurns; ++i) {
        const std::lock_guard guard{monitor};
        monitor.wait([&] { return turn % kProcesses == p; });
        ++turn;
        monitor.notify_all();
      }
    });
  }
  for (TestProcess& process : processes) CHECK(process.succeeded());
  CHECK(counter == kProcesses * kRounds);
  CHECK(turn == kProcesses * kTurns);
}

TEST_CASE("who enters after an owner's death repairs first") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& half = segment.construct<std::atomic<int>>("half", 0);
  int repairs = 0;
  bool fails = true;
  SharedMonitor monitor{segment, "m", [&] {
                          ++repairs;
                          monitor.lock();  // reentrant, and not a repair within the repair
                          monitor.unlock();
                          if (fails) throw std::runtime_error("not today");
                          half = 0;
                        }};
  TestProcess victim([&] {
    monitor.lock();
    half = 1;
    creel_test::stay();
  });
  REQUIRE(eventually([&] { return half == 1; }));
  CHECK_FALSE(monitor.try_lock());
  CHECK_FALSE(monitor.is_in_doubt());
  victim.kill();
  CHECK_THROWS_WITH_AS(monitor.lock(), "not today", std::runtime_error);
  CHECK_FALSE(monitor.is_held_by_current_thread());
  CHECK(monitor.is_in_doubt());
  CHECK_THROWS_AS(monitor.try_lock(), std::runtime_error);
  fails = false;
  CHECK(monitor.try_lock(30s));
  CHECK(half == 0);
  CHECK(repairs == 3);
  CHECK_FALSE(monitor.is_in_doubt());
  monitor.unlock();
  monitor.lock();
  CHECK(repairs == 3);
  monitor.unlock();
}

TEST_CASE("without a repair function everybody is told of the owner's death until somebody recovers") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& stage = segment.construct<std::atomic<int>>("stage", 0);
  SharedMonitor monitor{segment, "m"};
  TestProcess victim([&] {
    Thread::of_platform()
        .name("unlucky")
        .start([&] {
          monitor.lock();
          stage = 1;
          creel_test::stay();
        })
        .join();
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  // One waits to enter while it happens.
  std::atomic<int> told{0};
  const Thread waiter = Thread::of_platform().start([&] {
    try {
      monitor.lock();
    } catch (const creel::OwnerDiedError&) {
      ++told;
    }
  });
  await_state(waiter, ThreadState::Blocked);
  victim.kill();
  CHECK(waiter.join(30s));
  CHECK(told == 1);
  for (int i = 0; i < 2; ++i) {
    try {
      monitor.lock();
      FAIL("entered unaware");
    } catch (const creel::OwnerDiedError& error) {
      CHECK(error.owner().pid == victim.pid());
      CHECK(error.owner().thread_name == "unlucky");
      CHECK(error.code() == creel::ErrorCode::RankLost);
    }
    CHECK_FALSE(monitor.is_held_by_current_thread());
  }
  CHECK_THROWS_AS(monitor.recover([] { throw 7; }), int);
  CHECK(monitor.is_in_doubt());
  CHECK(monitor.recover([&] { CHECK(monitor.is_held_by_current_thread()); }));
  CHECK_FALSE(monitor.recover([] { FAIL("there is no doubt any more"); }));
  CHECK(monitor.try_lock());
  monitor.unlock();
}

TEST_CASE("an owner's death wakes those who wait on the monitor, and they are told") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& stage = segment.construct<std::atomic<int>>("stage", 0);
  SharedMonitor monitor{segment, "m"};
  std::atomic<int> told{0};
  std::vector<Thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.push_back(Thread::of_platform().start([&] {
      monitor.lock();
      try {
        while (monitor.wait()) {
        }
      } catch (const creel::OwnerDiedError&) {
        told += monitor.is_held_by_current_thread() ? 1 : 0;
      }
      monitor.unlock();
    }));
    await_state(waiters.back(), ThreadState::Waiting);
  }
  TestProcess victim([&] {
    monitor.lock();
    stage = 1;
    creel_test::stay();
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  victim.kill();
  for (const Thread& waiter : waiters) CHECK(waiter.join(30s));
  CHECK(told == 3);
}

TEST_CASE("a process killed while it waits takes no notification with it") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& stage = segment.construct<std::atomic<int>>("stage", 0);
  SharedMonitor monitor{segment, "m"};
  std::vector<TestProcess> victims;
  for (int i = 0; i < 3; ++i) {
    victims.emplace_back([&] {
      const std::lock_guard guard{monitor};
      ++stage;
      monitor.wait();
    });
    REQUIRE(eventually([&] { return stage == i + 1; }));
  }
  std::atomic<bool> gone{false};
  const Thread waiter = Thread::of_platform().start([&] {
    const std::lock_guard guard{monitor};
    monitor.wait();
    gone = true;
  });
  await_state(waiter, ThreadState::Waiting);
  SUBCASE("dead already") {
    for (TestProcess& victim : victims) victim.kill();
    creel::synchronized(monitor, [&] { monitor.notify_one(); });
  }
  SUBCASE("notified first") {
    for (TestProcess& victim : victims) victim.stop();
    creel::synchronized(monitor, [&] {
      for (int i = 0; i < 3; ++i) monitor.notify_one();  // for three of four, of whom three cannot go
    });
    for (TestProcess& victim : victims) victim.kill();
  }
  CHECK(waiter.join(30s));
  CHECK(gone);
  CHECK_FALSE(monitor.is_in_doubt());
}

TEST_CASE("a process killed while it waits to enter holds nobody up, and its slot serves another") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& stage = segment.construct<std::atomic<int>>("stage", 0);
  SharedMonitor monitor{segment, "m"};
  for (int round = 0; round < 5; ++round) {
    monitor.lock();
    stage = 0;
    TestProcess victim([&] {
      const Thread waiter = Thread::of_platform().start([&] { monitor.lock(); });
      await_state(waiter, ThreadState::Blocked);
      stage = 1;
      creel_test::stay();
    });
    REQUIRE(eventually([&] { return stage == 1; }));
    const Thread waiter = Thread::of_platform().start([&] { const std::lock_guard guard{monitor}; });
    await_state(waiter, ThreadState::Blocked);
    victim.kill();
    monitor.unlock();
    CHECK(waiter.join(30s));
    CHECK_FALSE(monitor.is_in_doubt());
  }
}

TEST_CASE("the child of a fork holds nothing of its parent's and dies alone") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& stage = segment.construct<std::atomic<int>>("stage", 0);
  SharedMonitor monitor{segment, "m"};
  monitor.lock();
  TestProcess child([&] {
    if (monitor.is_held_by_current_thread() || monitor.try_lock()) throw std::runtime_error("inherited");
    stage = 1;
    monitor.lock();
    monitor.unlock();
  });
  REQUIRE(eventually([&] { return stage == 1; }));
  monitor.unlock();
  CHECK(child.succeeded());
  // A grandchild that lives on does not make its dead parent look alive.
  auto& grandchild = segment.construct<std::atomic<pid_t>>("grandchild", 0);
  TestProcess parent([&] {
    monitor.lock();
    if (const pid_t born = ::fork(); born != 0) {
      grandchild = born;
    } else {
      creel_test::stay();
    }
    creel_test::stay();
  });
  REQUIRE(eventually([&] { return grandchild != 0; }));
  parent.kill();
  CHECK_THROWS_AS(monitor.try_lock(30s), creel::OwnerDiedError);
  CHECK(::kill(grandchild, 0) == 0);
  ::kill(grandchild, SIGKILL);
}

TEST_CASE("processes killed at random leave a monitor that works and data that was repaired") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  // Equal, but inside; `done` counts rounds to see that all go on.
  struct Pair {
    std::atomic<long> left{0}, right{0}, done{0}, broken{0};
  };
  auto& pair = segment.construct<Pair>("pair");
  const auto work = [&] {
    SharedMonitor monitor{segment, "m", [&] { pair.right = pair.left.load(); }};
    for (;;) {
      const std::lock_guard guard{monitor};
      if (pair.left != pair.right) ++pair.broken;
      ++pair.left;
      ++pair.right;
      if (pair.left % 8 == 0) monitor.wait(1ms);
      if (pair.left % 3 == 0) monitor.notify_one();
      ++pair.done;
    }
  };
  std::vector<TestProcess> processes;
  for (int p = 0; p < 4; ++p) processes.emplace_back(work);
  unsigned seed = 7;
  for (int kill = 0; kill < 25; ++kill) {
    const long before = pair.done;
    REQUIRE(eventually([&] { return pair.done > before + 50; }, 30s));
    seed = seed * 1664525 + 1013904223;
    TestProcess& victim = processes[(seed >> 16) % processes.size()];
    victim.kill();
    victim = TestProcess(work);
  }
  for (TestProcess& process : processes) process.kill();
  SharedMonitor monitor{segment, "m", [&] { pair.right = pair.left.load(); }};
  monitor.lock();
  CHECK(pair.broken == 0);
  monitor.unlock();
}
