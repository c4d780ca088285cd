#include "thread_record.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/scheduled_executor.hpp>

#include <creel_test/eventually.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::CountDownLatch;
using creel::ScheduledThreadPoolExecutor;
using creel::Thread;
using Clock = creel::Deadline::Clock;

TEST_CASE("scheduled: work does not run before it is due") {
  ScheduledThreadPoolExecutor timer{{}};
  const auto begin = Clock::now();
  auto work = timer.schedule([] { return Clock::now(); }, 20ms);
  CHECK_FALSE(work.is_periodic());
  CHECK(work.get(20s) - begin >= 20ms);
  CHECK(work.get_delay() <= 0ns);
  auto later = timer.schedule([] {}, 1h);
  CHECK(later.get_delay() > 30min);
  CHECK(work < later);
  later.cancel();
}

TEST_CASE("scheduled: work runs in the order of its times, then of its coming") {
  ScheduledThreadPoolExecutor timer{{}};
  CountDownLatch go{1};
  auto busy = timer.submit([&] { go.await(); });
  std::vector<int> order;  // one thread
  const auto now = Clock::now();
  auto last = timer.schedule([&] { order.push_back(3); }, creel::Deadline(now + 20ms));
  timer.schedule([&] { order.push_back(1); }, creel::Deadline(now + 10ms));
  timer.schedule([&] { order.push_back(2); }, creel::Deadline(now + 10ms));
  timer.schedule([&] { order.push_back(0); }, creel::Deadline(now));
  go.count_down();
  last.get(20s);
  for (std::size_t i = 0; i < 4; ++i) CHECK(order.at(i) == static_cast<int>(i));
}

TEST_CASE("scheduled: execute() runs at once, in front of what waits for its time") {
  ScheduledThreadPoolExecutor timer{{}};
  const auto late = timer.schedule([] {}, 1h);
  CountDownLatch ran{1};
  timer.execute([&] { ran.count_down(); });
  CHECK(ran.await(20s));
  CHECK_FALSE(late.is_done());
  CHECK(timer.shutdown_now().size() == 1);
}

TEST_CASE("scheduled: an earlier time wakes the thread that waits for a later one") {
  ScheduledThreadPoolExecutor timer{{.core_size = 2}};
  auto late = timer.schedule([] {}, 1h);
  CHECK(creel_test::eventually([&] { return timer.pool().counts().threads == 1; }));
  CHECK(timer.schedule([] { return 1; }, 5ms).get(20s) == 1);
  CHECK_FALSE(late.is_done());
  timer.shutdown_now();
}

TEST_CASE("scheduled: fixed rate repeats until cancelled, and never overlaps") {
  ScheduledThreadPoolExecutor timer{{.core_size = 3}};
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::vector<Clock::time_point> begins;  // ordered by the runs, which happen before each other
  CountDownLatch enough{5};
  const auto first = Clock::now() + 2ms;
  auto ticks = timer.schedule_at_fixed_rate(
      [&] {
        most = std::max(most.load(), ++inside);
        begins.push_back(Clock::now());
        Thread::sleep(2ms);
        --inside;
        enough.count_down();
      },
      first, 1ms);
  CHECK(ticks.is_periodic());
  CHECK(enough.await(20s));
  CHECK_FALSE(ticks.is_done());
  CHECK(ticks.cancel());
  CHECK_THROWS_AS(ticks.get(), creel::CancelledError);
  timer.shutdown();
  CHECK(timer.await_termination(20s));
  CHECK(most == 1);
  for (std::size_t i = 0; i < begins.size(); ++i)
    CHECK(begins[i] >= first + std::chrono::milliseconds(static_cast<int>(i)));
}

TEST_CASE("scheduled: fixed delay counts from the end of a run") {
  ScheduledThreadPoolExecutor timer{{}};
  std::vector<Clock::time_point> begins;
  std::vector<Clock::time_point> ends;
  CountDownLatch enough{4};
  auto ticks = timer.schedule_with_fixed_delay(
      [&] {
        begins.push_back(Clock::now());
        Thread::sleep(2ms);
        ends.push_back(Clock::now());
        enough.count_down();
      },
      0s, 3ms);
  CHECK(enough.await(20s));
  ticks.cancel(false);
  timer.shutdown();
  CHECK(timer.await_termination(20s));
  for (std::size_t i = 1; i < begins.size(); ++i) CHECK(begins[i] - ends[i - 1] >= 3ms);
}

TEST_CASE("scheduled: what periodic work throws ends it") {
  ScheduledThreadPoolExecutor timer{{}};
  int runs = 0;
  auto ticks = timer.schedule_at_fixed_rate(
      [&] {
        if (++runs == 3) throw std::runtime_error("third");
      },
      0s, 1ms);
  CHECK_THROWS_WITH_AS(ticks.get(20s), "third", std::runtime_error);
  CHECK(timer.submit([&] { return runs; }).get() == 3);
  CHECK(timer.pool().queue().empty());
  CHECK_THROWS_AS(timer.schedule_at_fixed_rate([] {}, 0s, 0ns), creel::Error);
}

TEST_CASE("scheduled: cancelled work stays in the queue until its time, unless told otherwise or purged") {
  ScheduledThreadPoolExecutor timer{{}};
  auto captured = std::make_shared<int>(0);
  auto a = timer.schedule([captured] {}, 1h);
  auto b = timer.schedule([captured] {}, 2h);
  CHECK(a.cancel());
  CHECK(captured.use_count() == 2);  // what it captured goes at once
  CHECK(timer.pool().queue().size() == 2);
  CHECK(timer.pool().purge() == 1);
  CHECK(timer.pool().queue().size() == 1);
  timer.set_remove_on_cancel_policy(true);
  CHECK(timer.removes_on_cancel());
  CHECK(b.cancel());
  CHECK(timer.pool().queue().empty());
}

TEST_CASE(
    "scheduled: shutdown runs what is delayed and ends what is periodic; the policies turn that around") {
  for (const bool turned : {false, true}) {
    ScheduledThreadPoolExecutor timer{{}};
    timer.set_execute_existing_delayed_tasks_after_shutdown_policy(!turned);
    timer.set_continue_existing_periodic_tasks_after_shutdown_policy(turned);
    CHECK(timer.executes_existing_delayed_tasks_after_shutdown() == !turned);
    CHECK(timer.continues_existing_periodic_tasks_after_shutdown() == turned);
    std::atomic<int> ticks{0};
    auto delayed = timer.schedule([] { return 1; }, turned ? creel::Deadline(1h) : creel::Deadline(30ms));
    auto periodic = timer.schedule_at_fixed_rate([&] { ++ticks; }, 0s, 1ms);
    CHECK(creel_test::eventually([&] { return ticks > 0; }));
    timer.shutdown();
    CHECK(timer.is_shutdown());
    CHECK_THROWS_AS(timer.schedule([] {}, 0s), creel::RejectedError);
    if (turned) {
      CHECK_THROWS_AS(delayed.get(20s), creel::CancelledError);
      const int before = ticks;
      CHECK(creel_test::eventually([&] { return ticks > before + 2; }));
      CHECK_FALSE(timer.is_terminated());
      CHECK(periodic.cancel());
    } else {
      CHECK(delayed.get(20s) == 1);
      CHECK_THROWS_AS(periodic.get(20s), creel::CancelledError);
    }
    CHECK(timer.await_termination(20s));
  }
}

TEST_CASE(
    "scheduled: what was due before shutdown still runs, only what is delayed is dropped by the policy") {
  ScheduledThreadPoolExecutor timer{{}};
  timer.set_execute_existing_delayed_tasks_after_shutdown_policy(false);
  CountDownLatch started{1}, release{1};
  timer.execute([&] {
    started.count_down();
    release.await();
  });
  started.await();
  auto due = timer.submit([] { return 1; });
  auto delayed = timer.schedule([] { return 2; }, 1h);
  timer.shutdown();
  CHECK_THROWS_AS(delayed.get(20s), creel::CancelledError);
  release.count_down();
  CHECK(due.get(20s) == 1);
  CHECK(timer.await_termination(20s));
}

TEST_CASE("scheduled: work that comes after shutdown meets the rejection policy, or a handler") {
  using Rejection = creel::ThreadPoolExecutor::Rejection;
  for (const Rejection rejection : {Rejection::Discard, Rejection::CallerRuns, Rejection::DiscardOldest}) {
    ScheduledThreadPoolExecutor timer{{.rejection = rejection}};
    timer.shutdown();
    CHECK(timer.schedule([] {}, 0s).is_cancelled());
  }
  int rejected = 0;
  ScheduledThreadPoolExecutor timer{{.on_rejected = [&](creel::Task task, creel::ThreadPoolExecutor&) {
    ++rejected;
    task();
  }}};
  timer.shutdown();
  CHECK(timer.schedule([] { return 5; }, 0s).get() == 5);
  CHECK(timer.schedule_at_fixed_rate([] {}, 0s, 1ms).is_cancelled());
  CHECK(rejected == 2);
  timer.pool().set_rejection(Rejection::Abort);
  CHECK_THROWS_AS(timer.execute([] {}), creel::RejectedError);
}

TEST_CASE("scheduled: work that is removed from the queue is cancelled") {
  ScheduledThreadPoolExecutor timer{{}};
  auto later = timer.schedule([] {}, 1h);
  auto ticks = timer.schedule_at_fixed_rate([] {}, 1h, 1h);
  CHECK(timer.pool().remove(later));
  CHECK_FALSE(timer.pool().remove(later));
  CHECK(later.is_cancelled());
  CHECK(timer.pool().remove(ticks));
  CHECK(ticks.is_cancelled());
  CHECK(timer.pool().queue().empty());
}

TEST_CASE("scheduled: shutdown_now gives back what is not due and interrupts what runs") {
  ScheduledThreadPoolExecutor timer{{}};
  CountDownLatch started{1};
  auto running = timer.schedule(
      [&] {
        started.count_down();
        Thread::sleep(1h);
      },
      0s);
  auto later = timer.schedule([] {}, 1h);
  started.await();
  CHECK(timer.shutdown_now().size() == 1);
  CHECK_THROWS_AS(running.get(20s), creel::InterruptedError);
  CHECK_THROWS_AS(later.get(20s), creel::CancelledError);
  CHECK(timer.await_termination(20s));
}

TEST_CASE("scheduled: cancel() interrupts the run of periodic work, and the next task does not see it") {
  ScheduledThreadPoolExecutor timer{{}};
  CountDownLatch started{1};
  std::atomic<bool> interrupted{false};
  auto ticks = timer.schedule_with_fixed_delay(
      [&] {
        started.count_down();
        try {
          Thread::sleep(1h);
        } catch (const creel::InterruptedError&) {
          interrupted = true;
        }
      },
      0s, 1ms);
  started.await();
  CHECK(ticks.cancel());
  CHECK_FALSE(timer.submit([] { return Thread::interrupted(); }).get());
  CHECK(interrupted);
}

TEST_CASE("scheduled: pools without core threads and on virtual threads") {
  ScheduledThreadPoolExecutor none{{.core_size = 0}};
  CHECK(none.schedule([] { return 2; }, 2ms).get(20s) == 2);
  auto virtual_pool = creel::executors::new_scheduled_thread_pool(2, Thread::of_virtual().factory());
  CHECK(virtual_pool->schedule([] { return Thread::current().is_virtual(); }, 2ms).get(20s));
  auto single = creel::executors::new_single_thread_scheduled_executor();
  CHECK(single->schedule([] { return 3; }, 0s).get(20s) == 3);
}

TEST_CASE("scheduled: many timers from many threads each run once") {
  ScheduledThreadPoolExecutor timer{{.core_size = 2}};
  timer.set_remove_on_cancel_policy(true);
  std::atomic<int> ran{0};
  std::atomic<int> cancelled{0};
  std::vector<Thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.push_back(Thread::of_virtual().start([&, t] {
      for (int i = 0; i < 400; ++i) {
        auto work = timer.schedule([&] { ++ran; }, std::chrono::microseconds(i * 7 % 500));
        if ((i + t) % 3 == 0 && work.cancel(false)) ++cancelled;
      }
    }));
  }
  for (const Thread& thread : threads) thread.join();
  timer.shutdown();
  CHECK(timer.await_termination(20s));
  CHECK(ran + cancelled == 1200);
}

TEST_CASE(
    "scheduled: a time that has passed is now; a period of 0 or less, or a pool that is shut down, is "
    "refused") {
  ScheduledThreadPoolExecutor timer{{}};
  auto late = timer.schedule([] { return 3; }, -5s);
  CHECK(late.get(20s) == 3);
  CHECK(late.get_delay() < 0s);
  CHECK_THROWS_AS(timer.schedule_at_fixed_rate([] {}, 0s, 0s), creel::Error);
  CHECK_THROWS_AS(timer.schedule_with_fixed_delay([] {}, 0s, -1s), creel::Error);
  CHECK_FALSE(timer.await_termination(-1s));
  Thread::current().interrupt();
  CHECK_THROWS_AS(timer.await_termination(20s), creel::InterruptedError);
  timer.shutdown();
  CHECK(timer.await_termination(20s));
  CHECK(timer.await_termination(-1s));
}
