#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/completion_service.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using creel::ExecutorCompletionService;
using creel::Thread;

TEST_CASE("completion service: futures come in the order in which they end, failed and cancelled ones too") {
  auto pool = creel::executors::new_cached_thread_pool();
  ExecutorCompletionService<int> service{*pool};
  creel::CountDownLatch go{1};
  auto slow = service.submit([&] {
    go.await();
    return 1;
  });
  service.submit([] { return 2; });
  CHECK(service.take().get() == 2);
  CHECK_FALSE(service.poll());
  CHECK_FALSE(service.poll(2ms));
  service.submit([]() -> int { throw std::runtime_error("no"); });
  const auto failed = service.take();
  CHECK_THROWS_WITH_AS(failed.get(), "no", std::runtime_error);
  go.count_down();
  CHECK(service.take().get() == 1);
  CHECK(slow.get() == 1);
  auto never = service.submit([]() -> int {
    Thread::sleep(1h);
    return 0;
  });
  never.cancel();
  CHECK(service.take().is_cancelled());
}

TEST_CASE(
    "completion service: a function with a value, and a queue of one's own, which may be full or closed") {
  const auto pool = creel::executors::new_fixed_thread_pool(1);
  const auto queue = std::make_shared<creel::ArrayBlockingQueue<creel::Future<int>>>(1);
  creel::ExecutorCompletionService<int> service{*pool, queue};
  bool ran = false;
  CHECK(service.submit([&] { ran = true; }, 5).get() == 5);
  CHECK(ran);
  service.submit([] { return 6; }).get();
  pool->submit([] {}).get();  // the thread is past the task, and what it left has come
  CHECK(queue->size() == 1);
  CHECK(queue->take()->get() == 5);
  queue->close();
  service.submit([] { return 7; }).get();
  CHECK_THROWS_AS(service.take(), creel::Error);
}

TEST_CASE("completion service: a refused task is not waited for") {
  auto pool = creel::executors::new_single_thread_executor();
  ExecutorCompletionService<void> service{*pool};
  pool->shutdown();
  CHECK_THROWS_AS(service.submit([] {}), creel::RejectedError);
  CHECK_FALSE(service.poll());
}

TEST_CASE("invoke_all: everything has ended, in the order of the tasks") {
  auto pool = creel::executors::new_fixed_thread_pool(2);
  std::vector<std::function<int()>> tasks{[] { return 1; }, []() -> int { throw std::runtime_error("two"); },
                                          [] { return 3; }};
  const auto futures = pool->invoke_all(tasks);
  REQUIRE(futures.size() == 3);
  for (const auto& future : futures) CHECK(future.is_done());
  CHECK(futures[0].get() == 1);
  CHECK_THROWS_WITH_AS(futures[1].get(), "two", std::runtime_error);
  CHECK(futures[2].result_now() == 3);
}

TEST_CASE("invoke_all: the deadline and an interrupt cancel what has not ended") {
  auto pool = creel::executors::new_fixed_thread_pool(1);
  std::vector<std::function<void()>> tasks{[] {}, [] { Thread::sleep(1h); }, [] {}};
  const auto futures = pool->invoke_all(tasks, 20ms);
  CHECK(futures[1].is_cancelled());
  CHECK(futures[2].is_cancelled());
  Thread::current().interrupt();
  CHECK_THROWS_AS(pool->invoke_all(tasks), creel::InterruptedError);
  CHECK(pool->submit([] { return 1; }).get(20s) == 1);  // the sleeper was cancelled
}

TEST_CASE("invoke_any: the first value wins, and the rest is cancelled") {
  auto pool = creel::executors::new_fixed_thread_pool(3);
  creel::CountDownLatch interrupted{1};
  std::vector<std::function<int()>> tasks{[]() -> int { throw std::runtime_error("bad"); },
                                          [&]() -> int {
                                            try {
                                              Thread::sleep(1h);
                                            } catch (const creel::InterruptedError&) {
                                              interrupted.count_down();
                                            }
                                            return 0;
                                          },
                                          [] {
                                            Thread::sleep(5ms);
                                            return 7;
                                          }};
  CHECK(pool->invoke_any(tasks) == 7);
  CHECK(interrupted.await(20s));
  tasks = {[]() -> int { throw std::runtime_error("bad"); }};
  CHECK_THROWS_WITH_AS(pool->invoke_any(tasks), "bad", std::runtime_error);
  tasks = {[]() -> int {
    Thread::sleep(1h);
    return 0;
  }};
  CHECK_THROWS_AS(pool->invoke_any(tasks, 5ms), creel::TimeoutError);
  tasks.clear();
  CHECK_THROWS_AS(pool->invoke_any(tasks), creel::Error);
}

TEST_CASE("submit with a value, close(), and the status of futures") {
  auto pool = creel::executors::new_single_thread_executor();
  int ran = 0;
  auto future = pool->submit([&] { ++ran; }, std::string("done"));
  CHECK(future.get() == "done");
  CHECK(future.state() == creel::FutureStatus::Success);
  CHECK(creel::to_string(future.state()) == "SUCCESS");
  CHECK_THROWS_AS(future.exception_now(), creel::Error);
  creel::CountDownLatch go{1};
  auto waiting = pool->submit([&] {
    go.await();
    ++ran;
  });
  CHECK(waiting.state() == creel::FutureStatus::Running);
  CHECK_THROWS_AS(waiting.result_now(), creel::Error);
  go.count_down();
  pool->close();
  CHECK(pool->is_terminated());
  CHECK(ran == 2);
  auto other = creel::executors::new_single_thread_executor();
  auto sleeper = other->submit([] { Thread::sleep(1h); });
  Thread::current().interrupt();
  other->close();  // interrupted: shutdown_now()
  CHECK(Thread::interrupted());
  CHECK(sleeper.state() != creel::FutureStatus::Success);
}
