#include "thread_record.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/future.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using creel::Future;
using creel::Promise;
using creel::Thread;

TEST_CASE("a promise gives its value once; the future gives it as often as asked") {
  Promise<std::string> promise;
  Future<std::string> future = promise.future();
  CHECK_FALSE(future.is_done());
  CHECK_FALSE(future.wait(2ms));
  CHECK_THROWS_AS(future.get(2ms), creel::TimeoutError);
  CHECK(promise.set_value("tea"));
  CHECK_FALSE(promise.set_value("coffee"));
  CHECK(future.get() == "tea");
  CHECK(future.get() == "tea");
  CHECK_FALSE(future.cancel());
}

TEST_CASE("failures arrive; a promise that goes without a result fails its future") {
  Promise<int> promise;
  CHECK(promise.set_exception(std::make_exception_ptr(std::runtime_error("no"))));
  CHECK_THROWS_WITH_AS(promise.future().get(), "no", std::runtime_error);
  Future<int> abandoned;
  {
    Promise<int> gone;
    abandoned = gone.future();
  }
  CHECK_THROWS_AS(abandoned.get(), creel::Error);
  Promise<void> nothing;
  CHECK(nothing.set_value());
  nothing.future().get();
}

TEST_CASE("waiting for a future shows who works on it, and answers interrupt") {
  auto pool = creel::executors::new_fixed_thread_pool(1);
  Promise<void> go;
  std::uint64_t worker_id = 0;
  Promise<void> started;
  Future<int> future = pool->submit([&] {
    worker_id = Thread::current().id();
    started.set_value();
    go.future().get();
    return 7;
  });
  started.future().get();
  Thread waiter =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(future.get(), creel::InterruptedError); });
  while (waiter.state() != creel::ThreadState::Waiting) Thread::yield();
  CHECK(waiter.record()->park_site.owner.load()->load() == worker_id);
  waiter.interrupt();
  CHECK(waiter.join(20s));
  go.set_value();
  CHECK(future.get() == 7);
}

TEST_CASE("what is done already is had by an interrupted thread, too, which stays interrupted") {
  Promise<int> seven;
  seven.set_value(7);
  const Future<int> future = seven.future();
  const Thread ended = Thread::of_virtual().start([] {});
  CHECK(ended.join(20s));
  Thread::current().interrupt();
  CHECK(future.get() == 7);
  CHECK(future.wait(20s));
  CHECK(ended.join());
  CHECK(Thread::interrupted());
}

TEST_CASE("cancel interrupts what runs and stops what has not begun") {
  auto pool = creel::executors::new_fixed_thread_pool(1);
  Promise<void> started;
  bool was_interrupted = false;
  bool ran = false;
  Future<void> running = pool->submit([&] {
    started.set_value();
    try {
      Thread::sleep(1h);
    } catch (const creel::InterruptedError&) {
      was_interrupted = true;
    }
  });
  Future<void> queued = pool->submit([&] { ran = true; });
  started.future().get();
  CHECK(queued.cancel());
  CHECK(running.cancel());
  CHECK_THROWS_AS(running.get(), creel::CancelledError);
  CHECK_THROWS_AS(queued.get(), creel::CancelledError);
  CHECK(running.is_cancelled());
  // The interrupt was the task's, not the thread's.
  CHECK_FALSE(pool->submit([] { return Thread::interrupted(); }).get());
  pool.reset();
  CHECK(was_interrupted);
  CHECK_FALSE(ran);
}

TEST_CASE("the task that cancel() interrupts finds its future cancelled already") {
  const auto pool = creel::executors::new_fixed_thread_pool(1);
  for (int round = 0; round < 200; ++round) {
    std::atomic<const creel::Future<void>*> own{nullptr};
    std::atomic<bool> cancelled{false}, done{false};
    creel::CountDownLatch begun{1}, ended{1};
    const creel::Future<void> future = pool->submit([&] {
      while (own == nullptr) Thread::yield();
      begun.count_down();
      try {
        Thread::sleep(60s);
      } catch (const creel::InterruptedError&) {
        cancelled = own.load()->is_cancelled();
        done = own.load()->is_done();
      }
      ended.count_down();
    });
    own = &future;
    begun.await();
    CHECK(future.cancel());
    CHECK_THROWS_AS(future.get(), creel::CancelledError);
    ended.await();
    CHECK(cancelled);
    CHECK(done);
  }
}

TEST_CASE("an interrupt that a cancelled task did not take does not reach the next task") {
  auto pool = creel::executors::new_fixed_thread_pool(1);
  Promise<void> started;
  Future<void> running = pool->submit([&] {
    started.set_value();
    while (!Thread::current().is_interrupted()) Thread::yield();
  });
  Future<bool> next = pool->submit([] { return Thread::interrupted(); });
  started.future().get();
  CHECK(running.cancel());
  CHECK_FALSE(next.get());
}

TEST_CASE("values that cannot be copied are moved out of a temporary future") {
  auto pool = creel::executors::new_fixed_thread_pool(1);
  const std::unique_ptr<int> value = pool->submit([] { return std::make_unique<int>(5); }).get();
  CHECK(*value == 5);
}

TEST_CASE("a future that has ended gives its value to a thread that was interrupted, which stays so") {
  creel::Promise<int> promise;
  const creel::Future<int> future = promise.future();
  CHECK_THROWS_AS(future.get(0ms), creel::TimeoutError);
  CHECK_THROWS_AS(future.get(-1s), creel::TimeoutError);
  promise.set_value(4);
  Thread::current().interrupt();
  CHECK(future.get() == 4);
  CHECK(future.get(-1s) == 4);
  CHECK(future.wait());
  CHECK(Thread::interrupted());
  CHECK_FALSE(future.cancel());
  CHECK_FALSE(future.is_cancelled());
}

TEST_CASE("a future that is cancelled while its work runs ends at once, interrupting or not") {
  for (const bool interrupt : {true, false}) {
    const auto pool = creel::executors::new_fixed_thread_pool(1);
    creel::CountDownLatch started{1}, release{1};
    std::atomic<bool> interrupted{false};
    const auto future = pool->submit([&] {
      started.count_down();
      try {
        release.await();
      } catch (const creel::InterruptedError&) {
        interrupted = true;
      }
      return 1;
    });
    started.await();
    CHECK(future.cancel(interrupt));
    CHECK_FALSE(future.cancel(interrupt));
    CHECK(future.is_cancelled());
    CHECK(future.is_done());
    CHECK_THROWS_AS(future.get(), creel::CancelledError);
    release.count_down();
    pool->close();
    CHECK(interrupted == interrupt);
    CHECK_THROWS_AS(future.get(), creel::CancelledError);  // what the work returned does not matter
  }
}
