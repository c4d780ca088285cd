#include "thread_container_node.hpp"
#include "thread_record.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>
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
