#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/fork_join.hpp>
#include <creel/runtime/fork_join_pool.hpp>
#include <creel/runtime/fork_join_task.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

using creel::ForkJoinPool;
using creel::ForkJoinWorkerThread;
using creel_test::eventually;
using namespace std::chrono_literals;

namespace {

// Keeps a worker until it is opened, and says that it is there.
struct Gate {
  creel::CountDownLatch entered{1};
  creel::CountDownLatch open{1};
  void pass() {
    entered.count_down();
    open.await();
  }
};

struct GateBlocker final : creel::ManagedBlocker {
  explicit GateBlocker(Gate& its_gate) : gate(its_gate) {}
  bool is_releasable() override { return gate.open.count() == 0; }
  bool block() override {
    gate.pass();
    return true;
  }
  Gate& gate;
};

}  // namespace

TEST_CASE("ForkJoinPool is an ExecutorService") {
  ForkJoinPool pool({.parallelism = 2, .name = "service"});
  std::vector<creel::Future<int>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(pool.submit([i] { return i; }));
  for (int i = 0; i < 1000; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
  CHECK_THROWS_WITH_AS(pool.submit([] { throw creel::Error("task"); }).get(), "task", creel::Error);
  CHECK(pool.name() == "service");
  CHECK(pool.parallelism() == 2);
  CHECK(pool.pool_size() <= 2);
  pool.execute([] { throw creel::Error("goes to the log"); });
  CHECK(pool.await_quiescence(10s));
  CHECK(pool.submit([] { return creel::Thread::current_name(); }).get().starts_with("service-"));
}

TEST_CASE("ForkJoinPool: sizes out of range") {
  CHECK_THROWS_AS(ForkJoinPool(257), creel::Error);
  ForkJoinPool of_the_machine;
  CHECK(of_the_machine.parallelism() >= 1);
}

TEST_CASE("ForkJoinPool: tasks from outside begin in their order, one's own last first unless async") {
  for (const bool async : {false, true}) {
    ForkJoinPool pool({.parallelism = 1, .async = async});
    CHECK(pool.is_async() == async);
    Gate gate;
    std::vector<int> order;
    pool.execute([&] { gate.pass(); });
    gate.entered.await();
    for (int i = 0; i < 3; ++i) pool.execute([&order, i] { order.push_back(i); });
    CHECK(pool.queued_submission_count() == 3);
    gate.open.count_down();
    CHECK(pool.await_quiescence(10s));
    CHECK(order == std::vector<int>{0, 1, 2});

    order.clear();
    pool.submit([&] {
          for (int i = 0; i < 3; ++i) pool.execute([&order, i] { order.push_back(i); });
          CHECK(pool.queued_task_count() == 3);
        })
        .get();
    CHECK(pool.await_quiescence(10s));
    CHECK(order == (async ? std::vector<int>{0, 1, 2} : std::vector<int>{2, 1, 0}));
  }
}

TEST_CASE("ForkJoinPool::shutdown runs what it has, with what that forks, and takes no more") {
  ForkJoinPool pool(2);
  Gate gate;
  std::atomic<int> ran{0};
  const auto held = pool.submit([&] {
    gate.pass();
    for (int i = 0; i < 10; ++i) pool.execute([&] { ran.fetch_add(1); });  // a worker's own
  });
  const auto waiting = pool.submit([&] { ran.fetch_add(1); });
  gate.entered.await();
  pool.shutdown();
  CHECK(pool.is_shutdown());
  CHECK_FALSE(pool.is_terminated());
  CHECK_FALSE(pool.await_termination(1ms));
  CHECK_THROWS_AS(pool.execute([] {}), creel::RejectedError);
  CHECK_THROWS_AS(pool.invoke([] {}), creel::RejectedError);
  gate.open.count_down();
  CHECK(pool.await_termination(10s));
  CHECK(pool.is_terminated());
  CHECK(ran == 11);
  CHECK(pool.pool_size() == 0);
}

TEST_CASE("ForkJoinPool::shutdown_now interrupts, returns submitted tasks and cancels the others") {
  ForkJoinPool pool(1);
  creel::CountDownLatch entered(1);
  const auto held = pool.submit([&] {
    entered.count_down();
    creel::Thread::sleep(1h);
  });
  entered.await();
  std::atomic<int> ran{0};
  const auto dropped = pool.submit([&] { ran.fetch_add(1); });
  pool.execute([&] { ran.fetch_add(10); });
  auto count = [&] { ran.fetch_add(100); };
  creel::AdaptedTask<decltype(count)> object(count);
  pool.execute(object);
  {
    std::vector<creel::Task> left = pool.shutdown_now();
    CHECK(left.size() == 2);
    left[1]();
  }
  CHECK(ran == 10);
  CHECK_THROWS_AS(object.join(), creel::CancelledError);
  CHECK_THROWS_AS(dropped.get(), creel::CancelledError);
  CHECK_THROWS_AS(held.get(), creel::InterruptedError);
  CHECK(pool.await_termination(10s));
}

TEST_CASE("ForkJoinPool::shutdown_now cancels an invoke that has not begun") {
  ForkJoinPool pool(1);
  Gate gate;
  const auto held = pool.submit([&] {
    try {
      gate.pass();
    } catch (const creel::InterruptedError&) {
    }
  });
  gate.entered.await();
  std::atomic<bool> cancelled{false};
  const creel::Thread caller = creel::Thread::of_virtual().start([&] {
    try {
      pool.invoke([] {});
    } catch (const creel::CancelledError&) {
      cancelled = true;
    }
  });
  REQUIRE(eventually([&] { return pool.has_queued_submissions(); }));
  pool.shutdown_now();
  caller.join();
  CHECK(cancelled);
}

TEST_CASE("ForkJoinPool: a pool that was never used ends at once") {
  ForkJoinPool pool(2);
  CHECK(pool.is_quiescent());
  pool.shutdown();
  CHECK(pool.is_terminated());
  CHECK(pool.await_termination(10s));
}

TEST_CASE("ForkJoinPool::await_quiescence") {
  ForkJoinPool pool(2);
  Gate gate;
  pool.execute([&] { gate.pass(); });
  gate.entered.await();
  CHECK_FALSE(pool.is_quiescent());
  CHECK_FALSE(pool.await_quiescence(1ms));
  const creel::Thread waiter = creel::Thread::of_platform().start(
      [&] { CHECK_THROWS_AS(pool.await_quiescence(), creel::InterruptedError); });
  CHECK(eventually([&] { return waiter.state() == creel::ThreadState::Waiting; }));
  waiter.interrupt();
  waiter.join();
  gate.open.count_down();
  CHECK(pool.await_quiescence(10s));
  CHECK(pool.running_thread_count() == 0);
  pool.invoke([&] { CHECK_THROWS_AS(pool.await_quiescence(), creel::Error); });
}

TEST_CASE("ForkJoinPool::managed_block lets another thread work meanwhile") {
  ForkJoinPool pool(1);
  Gate gate;
  GateBlocker blocker(gate);
  const auto blocked = pool.submit([&] { ForkJoinPool::managed_block(blocker); });
  gate.entered.await();
  CHECK(pool.submit([] { return 5; }).get(10s) == 5);
  CHECK(pool.pool_size() == 2);
  gate.open.count_down();
  blocked.get();
  ForkJoinPool::managed_block(blocker);  // anywhere, and no wait if there is nothing to wait for
}

TEST_CASE("ForkJoinPool: blocking() on a worker does so too") {
  ForkJoinPool pool(1);
  Gate gate;
  const auto blocked = pool.submit([&] { creel::blocking("a gate", [&] { gate.pass(); }); });
  gate.entered.await();
  CHECK(pool.submit([] { return 5; }).get(10s) == 5);
  gate.open.count_down();
  blocked.get();
}

TEST_CASE("ForkJoinPool: virtual threads call in and wait parked") {
  ForkJoinPool pool(2);
  constexpr int kCallers = creel_test::kThreadSanitizer ? 200 : 2000;
  std::atomic<int> sum{0};
  std::vector<creel::Thread> callers;
  creel::Thread::Builder builder = creel::Thread::of_virtual();
  for (int i = 0; i < kCallers; ++i) {
    callers.push_back(builder.start([&, i] {
      sum.fetch_add(pool.invoke([i](ForkJoinWorkerThread& worker) {
        const auto [a, b] = creel::fork_join(
            worker, [i] { return i; }, [] { return 1; });
        return a + b;
      }));
    }));
  }
  for (const creel::Thread& caller : callers) caller.join();
  CHECK(sum == kCallers * (kCallers - 1) / 2 + kCallers);
}

TEST_CASE("ForkJoinPool: nested pools, and invoke on a worker is a call") {
  ForkJoinPool outer(2);
  ForkJoinPool inner(2);
  const auto result = outer.invoke([&](ForkJoinWorkerThread& worker) {
    const auto twice = [&] {
      return inner.invoke([](ForkJoinWorkerThread& w) {
        const auto [a, b] = creel::fork_join(
            w, [] { return 1; }, [] { return 2; });
        return a + b;
      });
    };
    const auto [a, b] = creel::fork_join(worker, twice, twice);
    const auto here = creel::Thread::current();
    CHECK(outer.invoke([&] { return creel::Thread::current() == here; }));
    return a + b;
  });
  CHECK(result == 6);
}

TEST_CASE("ForkJoinPool: pools of one thread that call each other back do not starve") {
  ForkJoinPool here(1);
  ForkJoinPool there(1);
  CHECK(here.invoke([&] { return there.invoke([&] { return here.invoke([] { return 4; }); }); }) == 4);
  creel::AdaptedTask back([&] { return here.invoke([] { return 5; }); });
  CHECK(here.invoke([&] {
    there.execute(back);
    return back.join();
  }) == 5);
}

TEST_CASE("ForkJoinPool: common() cannot be shut down and is used by those that name none") {
  ForkJoinPool& common = ForkJoinPool::common();
  common.shutdown();
  CHECK(common.shutdown_now().empty());
  CHECK_FALSE(common.is_shutdown());
  const auto [a, b] =
      creel::fork_join([] { return &ForkJoinWorkerThread::current()->pool(); }, [] { return 2; });
  CHECK(a == &common);
  CHECK(b == 2);
}

TEST_CASE("ForkJoinPool: the child of a fork() has a common pool of its own") {
  if (!creel_test::kChildMayStartThreads) return;
  CHECK(ForkJoinPool::common().invoke([] { return 1; }) == 1);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(ForkJoinPool::common().invoke([] { return 7; }));
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 7);
}

TEST_CASE("ForkJoinPool: dumps show workers under the pool and whom a join waits for") {
  ForkJoinPool pool({.parallelism = 2, .name = "shown"});
  Gate gate;
  std::atomic<std::uint64_t> joiner{0};
  std::atomic<std::uint64_t> runner{0};
  const creel::Thread caller = creel::Thread::of_platform().start([&] {
    pool.invoke([&](ForkJoinWorkerThread& worker) {
      joiner = creel::Thread::current().id();
      creel::fork_join(
          worker, [&] { gate.entered.await(); },
          [&] {
            runner = creel::Thread::current().id();
            gate.pass();
          });
    });
  });
  gate.entered.await();
  bool seen = false;
  CHECK(eventually([&] {
    const creel::ThreadDump dump = creel::ThreadDump::take();
    const creel::ThreadInfo* thread = dump.find(joiner.load());
    if (thread == nullptr || !thread->wait || thread->wait->on.type != "creel::ForkJoinTask") return false;
    for (const creel::ContainerInfo& container : dump.containers()) {
      seen = seen || (container.id == thread->container && container.name == "shown");
    }
    return thread->wait->on.owner == runner;
  }));
  CHECK(seen);
  gate.open.count_down();
  caller.join();
}

TEST_CASE("ForkJoinPool: an interrupt ends neither a join nor an idle worker") {
  ForkJoinPool pool(2);
  Gate gate;
  std::atomic<bool> flag_kept{false};
  creel::Thread joiner;
  const creel::Thread caller = creel::Thread::of_platform().start([&] {
    pool.invoke([&](ForkJoinWorkerThread& worker) {
      joiner = creel::Thread::current();
      creel::fork_join(
          worker,
          [&] {
            while (gate.entered.count() != 0) creel::Thread::yield();  // so that it waits in the join only
          },
          [&] { gate.pass(); });
      flag_kept = creel::Thread::interrupted();
    });
  });
  gate.entered.await();
  CHECK(eventually([&] { return joiner.state() == creel::ThreadState::Waiting; }));
  joiner.interrupt();
  gate.open.count_down();
  caller.join();
  CHECK(flag_kept);
  CHECK(pool.await_quiescence(10s));
  joiner.interrupt();
  CHECK(pool.submit([] { return 1; }).get(10s) == 1);
}

TEST_CASE("ForkJoinPool: pools come and go") {
  for (int i = 0; i < 50; ++i) {
    std::atomic<int> ran{0};
    {
      ForkJoinPool pool(3);
      for (int k = 0; k < 20; ++k) {
        pool.execute([&] {
          pool.execute([&] { ran.fetch_add(1); });
          ran.fetch_add(1);
        });
      }
    }
    REQUIRE(ran == 40);
  }
}
