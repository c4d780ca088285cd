#include "thread_container_node.hpp"
#include "thread_record.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/synchronous_queue.hpp>
#include <creel/runtime/thread_pool_executor.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <set>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadPoolExecutor;

namespace {

ThreadPoolExecutor::Options bounded(
    std::size_t core, std::size_t maximum, std::size_t queue,
    ThreadPoolExecutor::Rejection rejection = ThreadPoolExecutor::Rejection::Abort) {
  ThreadPoolExecutor::Options options;
  options.core_size = core;
  options.maximum_size = maximum;
  options.queue = std::make_shared<creel::ArrayBlockingQueue<creel::Task>>(queue);
  options.rejection = rejection;
  return options;
}

}  // namespace

TEST_CASE("DiscardOldest with a queue that only hands over drops the new task") {
  ThreadPoolExecutor pool({.core_size = 1,
                           .queue = std::make_shared<creel::SynchronousQueue<creel::Task>>(),
                           .rejection = ThreadPoolExecutor::Rejection::DiscardOldest});
  creel::CountDownLatch gate{1};
  const creel::Future<void> busy = pool.submit([&] { gate.await(); });
  const creel::Future<void> dropped = pool.submit([] {});
  CHECK_THROWS_AS(dropped.get(60s), creel::CancelledError);
  gate.count_down();
  busy.get(60s);
}

TEST_CASE("a fixed pool runs everything on its named threads, which dumps list under it") {
  std::atomic<int> sum{0};
  {
    ThreadPoolExecutor::Options options;
    options.core_size = 2;
    options.name = "decode";
    ThreadPoolExecutor pool{std::move(options)};
    auto name = pool.submit([] { return Thread::current_name(); });
    CHECK(name.get().rfind("decode-", 0) == 0);
    CHECK(pool.submit([] { return creel::detail::current_record().container->name; }).get() == "decode");
    for (int i = 1; i <= 1000; ++i) pool.execute([&sum, i] { sum += i; });
  }  // waits
  CHECK(sum == 500500);
}

TEST_CASE("threads beyond the core come when the queue is full, then rejection, and go after keep_alive") {
  auto options = bounded(1, 2, 1);
  options.keep_alive = 1ms;
  ThreadPoolExecutor pool{std::move(options)};
  creel::CountDownLatch release{1};
  const auto wait = [&] { release.await(); };
  auto a = pool.submit(wait);  // core thread
  auto b = pool.submit(wait);  // queue
  CHECK(pool.counts().threads == 1);
  auto c = pool.submit(wait);  // second thread
  CHECK(pool.counts().threads == 2);
  CHECK_THROWS_AS(pool.submit(wait), creel::RejectedError);
  release.count_down();
  for (const auto& future : {a, b, c}) future.get();
  while (pool.counts().threads != 1) Thread::yield();
  CHECK(pool.counts().largest == 2);
  CHECK(pool.submit([] { return 1; }).get() == 1);
}

TEST_CASE("rejection policies") {
  using Rejection = ThreadPoolExecutor::Rejection;
  for (const Rejection rejection : {Rejection::CallerRuns, Rejection::Discard, Rejection::DiscardOldest}) {
    ThreadPoolExecutor pool{bounded(1, 1, 1, rejection)};
    creel::CountDownLatch release{1};
    auto first = pool.submit([&] { release.await(); });
    auto queued = pool.submit([] { return Thread::current().id(); });
    auto extra = pool.submit([] { return Thread::current().id(); });
    if (rejection == Rejection::CallerRuns) CHECK(extra.get() == Thread::current().id());
    release.count_down();
    first.get();
    if (rejection == Rejection::Discard) CHECK_THROWS_AS(extra.get(), creel::CancelledError);
    if (rejection == Rejection::DiscardOldest) {
      CHECK_THROWS_AS(queued.get(), creel::CancelledError);
      CHECK(extra.get() != 0);
    } else {
      CHECK(queued.get() != 0);
    }
  }
}

TEST_CASE("shutdown runs what is queued and takes no more; shutdown_now gives it back and interrupts") {
  ThreadPoolExecutor pool{{}};
  creel::CountDownLatch release{1};
  auto running = pool.submit([&] { release.await(); });
  auto queued = pool.submit([] { return 3; });
  pool.shutdown();
  CHECK(pool.is_shutdown());
  CHECK_FALSE(pool.is_terminated());
  CHECK_FALSE(pool.await_termination(2ms));
  CHECK_THROWS_AS(pool.submit([] {}), creel::RejectedError);
  release.count_down();
  CHECK(queued.get() == 3);
  CHECK(pool.await_termination(20s));
  CHECK(pool.is_terminated());

  ThreadPoolExecutor other{{}};
  creel::CountDownLatch started{1};
  auto interrupted = other.submit([&] {
    started.count_down();
    Thread::sleep(1h);
  });
  auto never = other.submit([] {});
  started.await();
  CHECK(other.shutdown_now().size() == 1);
  CHECK_THROWS_AS(interrupted.get(), creel::InterruptedError);
  CHECK_THROWS_AS(never.get(), creel::CancelledError);
  CHECK(other.await_termination(20s));
}

TEST_CASE("a task that throws costs its thread, not the pool") {
  std::atomic<int> handled{0};
  ThreadPoolExecutor::Options options;
  options.factory = Thread::of_platform()
                        .uncaught_exception_handler([&](const Thread&, std::exception_ptr) { ++handled; })
                        .factory();
  ThreadPoolExecutor pool{std::move(options)};
  for (int i = 0; i < 5; ++i) pool.execute([] { throw std::runtime_error("task"); });
  CHECK(pool.submit([] { return 9; }).get() == 9);
  pool.shutdown();
  CHECK(pool.await_termination(20s));
  while (handled != 5) Thread::yield();
}

TEST_CASE("pools come, work and go while others submit") {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> accepted{0};
    std::atomic<int> ran{0};
    auto pool = creel::executors::new_fixed_thread_pool(3);
    std::vector<Thread> submitters;
    for (int t = 0; t < 2; ++t) {
      submitters.push_back(Thread::of_virtual().start([&] {
        try {
          for (;;) {
            pool->execute([&] { ++ran; });
            ++accepted;
          }
        } catch (const creel::RejectedError&) {
        }
      }));
    }
    while (accepted < 20) Thread::yield();
    pool->shutdown();
    for (const Thread& thread : submitters) thread.join();
    CHECK(pool->await_termination(20s));
    CHECK(ran == accepted);
  }
}

TEST_CASE("sizes that contradict each other are refused") {
  CHECK_THROWS_AS(ThreadPoolExecutor(bounded(3, 2, 1)), creel::Error);
  CHECK_THROWS_AS(creel::executors::new_fixed_thread_pool(0), creel::Error);
}

TEST_CASE("sizes can be changed: threads come for what is queued and surplus ones leave") {
  ThreadPoolExecutor pool{{.core_size = 1, .maximum_size = 4, .keep_alive = std::chrono::milliseconds(1)}};
  creel::CountDownLatch release{1};
  creel::CountDownLatch running{3};
  std::vector<creel::Future<void>> futures;
  for (int i = 0; i < 3; ++i) {
    futures.push_back(pool.submit([&] {
      running.count_down();
      release.await();
    }));
  }
  CHECK(pool.counts().threads == 1);
  CHECK_THROWS_AS(pool.set_core_pool_size(5), creel::Error);
  CHECK_THROWS_AS(pool.set_maximum_pool_size(0), creel::Error);
  pool.set_core_pool_size(3);
  CHECK(running.await(20s));
  CHECK(pool.counts().active == 3);
  release.count_down();
  for (const auto& future : futures) future.get();
  pool.set_core_pool_size(1);  // the others wait for ever, and are told
  while (pool.counts().threads != 1) Thread::yield();
  pool.allow_core_thread_time_out(true);
  CHECK(pool.allows_core_thread_time_out());
  while (pool.counts().threads != 0) Thread::yield();
  CHECK(pool.counts().completed == 3);
  CHECK(pool.submit([] { return 1; }).get() == 1);
}

TEST_CASE("settings of a running pool are read back, and hold from then on") {
  using Rejection = ThreadPoolExecutor::Rejection;
  ThreadPoolExecutor pool{bounded(1, 2, 1, Rejection::Discard)};
  CHECK(pool.core_pool_size() == 1);
  CHECK(pool.maximum_pool_size() == 2);
  CHECK(pool.keep_alive_time() == 60s);
  CHECK(pool.rejection() == Rejection::Discard);
  pool.set_maximum_pool_size(1);
  CHECK(pool.maximum_pool_size() == 1);
  pool.set_rejection(Rejection::Abort);
  CHECK(pool.rejection() == Rejection::Abort);
  pool.set_thread_factory(Thread::of_platform().name("later-", 3).factory());
  creel::CountDownLatch release{1};
  auto first = pool.submit([&] {
    release.await();
    return Thread::current_name();
  });
  auto queued = pool.submit([] {});
  CHECK_THROWS_AS(pool.submit([] {}), creel::RejectedError);
  release.count_down();
  CHECK(first.get() == "later-3");
  queued.get();
  CHECK(pool.counts().threads == 1);
  pool.allow_core_thread_time_out(true);
  pool.set_keep_alive_time(1ms);  // the thread that waits for a minute is told
  CHECK(pool.keep_alive_time() == 1ms);
  while (pool.counts().threads != 0) Thread::yield();
}

TEST_CASE("a handler for rejected tasks can be set, asked for and taken off while the pool runs") {
  using Rejection = ThreadPoolExecutor::Rejection;
  ThreadPoolExecutor pool{bounded(1, 1, 1)};
  CHECK(pool.rejection_handler() == nullptr);
  creel::CountDownLatch release{1};
  pool.execute([&] { release.await(); });
  pool.execute([] {});
  int rejected = 0;
  pool.set_rejection([&](const creel::Task&, ThreadPoolExecutor& by) {
    CHECK(&by == &pool);
    ++rejected;
  });
  CHECK(pool.rejection_handler() != nullptr);
  auto dropped = pool.submit([] {});
  CHECK(rejected == 1);
  CHECK(dropped.is_cancelled());
  pool.set_rejection(Rejection::Abort);
  CHECK(pool.rejection_handler() == nullptr);
  CHECK_THROWS_AS(pool.execute([] {}), creel::RejectedError);
  CHECK(rejected == 1);
  release.count_down();
}

TEST_CASE("a keep-alive time that would let core threads go at once, or a negative one, is refused") {
  CHECK_THROWS_AS(ThreadPoolExecutor({.keep_alive = -1ns}), creel::Error);
  CHECK_THROWS_AS(ThreadPoolExecutor({.keep_alive = 0ns, .core_may_time_out = true}), creel::Error);
  ThreadPoolExecutor pool{{.keep_alive = 0ns}};
  CHECK_THROWS_AS(pool.allow_core_thread_time_out(true), creel::Error);
  CHECK_FALSE(pool.allows_core_thread_time_out());
  pool.set_keep_alive_time(1s);
  pool.allow_core_thread_time_out(true);
  CHECK_THROWS_AS(pool.set_keep_alive_time(0ns), creel::Error);
  CHECK_THROWS_AS(pool.set_keep_alive_time(-1ns), creel::Error);
  CHECK(pool.keep_alive_time() == 1s);
}

TEST_CASE("a pool tells its threads and tasks as Java's getters do, and gives its factory") {
  creel::CountDownLatch release{1};
  const creel::ThreadFactory makes = Thread::of_platform().name("made-", 7).factory();
  // Its threads come to their tasks late: those count from the beginning all the same.
  ThreadPoolExecutor pool{{.core_size = 2, .factory = [&](std::function<void()> body) {
                             return makes([&release, body = std::move(body)] {
                               release.await();
                               body();
                             });
                           }}};
  CHECK(pool.pool_size() == 0);
  for (int i = 0; i < 3; ++i) pool.execute([] {});
  CHECK(pool.active_count() == 2);
  CHECK(pool.pool_size() == 2);
  CHECK(pool.largest_pool_size() == 2);
  CHECK(pool.task_count() == 3);
  CHECK(pool.completed_task_count() == 0);
  release.count_down();
  pool.shutdown();
  CHECK(pool.await_termination(20s));
  CHECK(pool.pool_size() == 0);
  CHECK(pool.active_count() == 0);
  CHECK(pool.largest_pool_size() == 2);
  CHECK(pool.completed_task_count() == 3);
  CHECK(pool.task_count() == 3);
  const Thread made = pool.thread_factory()([] {});
  CHECK(made.name() == "made-9");
  made.join();
}

TEST_CASE("remove takes a submitted task out of the queue, and its future is cancelled") {
  for (const bool own_queue : {true, false}) {
    ThreadPoolExecutor pool{own_queue ? ThreadPoolExecutor::Options{} : bounded(1, 1, 8)};
    creel::CountDownLatch release{1};
    auto running = pool.submit([&] { release.await(); });
    while (pool.active_count() != 1) Thread::yield();
    auto first = pool.submit([] { return 1; });
    auto second = pool.submit([] { return 2; });
    CHECK(pool.remove(first));
    CHECK_FALSE(pool.remove(first));
    CHECK_FALSE(pool.remove(running));
    CHECK(first.is_cancelled());
    CHECK(pool.queue().size() == 1);
    ThreadPoolExecutor other{{}};
    CHECK_FALSE(other.remove(second));
    release.count_down();
    CHECK(second.get() == 2);
    CHECK_FALSE(pool.remove(second));
  }
}

TEST_CASE("a pool is terminated after its hook, whatever the hook throws; an empty task is refused") {
  creel::CountDownLatch in_hook{1}, release{1};
  ThreadPoolExecutor::Options options;
  options.terminated = [&] {
    in_hook.count_down();
    release.await();
    throw std::runtime_error("hook");
  };
  ThreadPoolExecutor pool{std::move(options)};
  CHECK_THROWS_AS(pool.execute(creel::Task()), creel::Error);
  pool.submit([] {}).get();
  const Thread closer = Thread::of_platform().start([&] { pool.shutdown(); });
  in_hook.await();
  CHECK_FALSE(pool.is_terminated());
  CHECK(pool.is_terminating());
  release.count_down();
  CHECK(pool.await_termination(20s));
  CHECK(pool.is_terminated());
  closer.join();
}

TEST_CASE("core threads can be started before there is work") {
  ThreadPoolExecutor pool{{.core_size = 3}};
  CHECK(pool.prestart_core_thread());
  CHECK(pool.prestart_all_core_threads() == 2);
  CHECK_FALSE(pool.prestart_core_thread());
  CHECK(pool.counts().threads == 3);
}

TEST_CASE("hooks see each task and its failure, and the end of the pool") {
  std::atomic<int> before{0};
  std::vector<std::string> after;
  std::atomic<int> terminated{0};
  {
    ThreadPoolExecutor::Options options;
    options.factory =
        Thread::of_platform().uncaught_exception_handler([](const Thread&, std::exception_ptr) {}).factory();
    options.before_execute = [&](const creel::Task&) { ++before; };
    options.after_execute = [&](const creel::Task&, const std::exception_ptr& failure) {
      after.emplace_back(failure == nullptr ? "fine" : "failed");
    };
    options.terminated = [&] { ++terminated; };
    ThreadPoolExecutor pool{std::move(options)};
    pool.submit([] {}).get();
    pool.execute([] { throw std::runtime_error("task"); });
    pool.shutdown();
    CHECK(pool.await_termination(20s));
    CHECK_FALSE(pool.is_terminating());
  }
  CHECK(before == 2);
  CHECK(after == std::vector<std::string>{"fine", "failed"});
  CHECK(terminated == 1);
}

TEST_CASE("purge takes cancelled tasks out of the queue, and a handler of one's own gets what is rejected") {
  auto options = bounded(1, 1, 2);
  int rejected = 0;
  options.on_rejected = [&](creel::Task task, ThreadPoolExecutor&) {
    ++rejected;
    task();
  };
  ThreadPoolExecutor pool{std::move(options)};
  creel::CountDownLatch release{1};
  pool.execute([&] { release.await(); });
  auto a = pool.submit([] {});
  auto b = pool.submit([] {});
  CHECK(a.cancel());
  bool ran = false;
  pool.execute([&] { ran = true; });
  CHECK(ran);
  CHECK(rejected == 1);
  CHECK(pool.purge() == 1);
  CHECK(pool.queue().size() == 1);
  pool.execute([] {});
  CHECK(rejected == 1);
  release.count_down();
  b.get();
}

TEST_CASE("the pool's own queue can be looked into and taken from, over many segments") {
  ThreadPoolExecutor pool{{}};
  creel::CountDownLatch release{1};
  pool.execute([&] { release.await(); });
  while (pool.queue().size() != 0) Thread::yield();
  std::vector<creel::Future<int>> futures;
  for (int i = 0; i < 1000; ++i) futures.push_back(pool.submit([i] { return i; }));
  for (int i = 0; i < 1000; i += 3) futures[static_cast<std::size_t>(i)].cancel();
  CHECK(pool.purge() == 334);
  std::size_t left = 0;
  pool.queue().for_each([&](const creel::Task&) { ++left; });
  CHECK(left == 666);
  auto last = pool.submit([] { return -1; });
  release.count_down();
  CHECK(last.get() == -1);
  for (int i = 0; i < 1000; ++i) {
    if (i % 3 != 0) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
  }
}

TEST_CASE("a task goes to a thread that waits, though another one is blocked") {
  for (int round = 0; round < 200; ++round) {
    ThreadPoolExecutor pool{{.core_size = 2}};
    pool.prestart_all_core_threads();
    creel::CountDownLatch met{2};
    const auto meet = [&] {
      met.count_down();
      return met.await(20s);
    };
    auto a = pool.submit(meet);
    auto b = pool.submit(meet);
    CHECK(a.get());
    CHECK(b.get());
  }
}
