#include "thread_container_node.hpp"
#include "thread_record.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/fork_join_pool.hpp>
#include <creel/runtime/task_scope.hpp>
#include <creel/runtime/thread_pool_executor.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <set>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;

TEST_CASE("a virtual thread for each task, under the executor's name") {
  auto executor = creel::executors::new_virtual_thread_per_task_executor("sessions");
  std::vector<creel::Future<std::uint64_t>> futures;
  for (int i = 0; i < 500; ++i) {
    futures.push_back(executor->submit([] {
      CHECK(Thread::current().is_virtual());
      CHECK(creel::detail::current_record().container->name == "sessions");
      Thread::sleep(1ms);
      return Thread::current().id();
    }));
  }
  std::set<std::uint64_t> ids;
  for (auto& future : futures) ids.insert(future.get());
  CHECK(ids.size() == 500);
  executor->shutdown();
  CHECK_THROWS_AS(executor->submit([] {}), creel::RejectedError);
  CHECK(executor->await_termination(20s));
}

TEST_CASE("its destructor waits for the tasks; shutdown_now interrupts them") {
  std::atomic<int> ended{0};
  {
    auto executor = creel::executors::new_virtual_thread_per_task_executor();
    for (int i = 0; i < 20; ++i) {
      executor->execute([&] {
        Thread::sleep(5ms);
        ++ended;
      });
    }
  }
  CHECK(ended == 20);
  auto executor = creel::executors::new_virtual_thread_per_task_executor();
  auto sleeping = executor->submit([] { Thread::sleep(1h); });
  CHECK(executor->shutdown_now().empty());
  CHECK_THROWS_AS(sleeping.get(), creel::InterruptedError);
  CHECK(executor->await_termination(20s));
}

TEST_CASE("its destructor waits for the handlers of what tasks threw, too") {
  std::atomic<int> handled{0};
  const auto factory = Thread::of_virtual()
                           .uncaught_exception_handler([&](const Thread&, std::exception_ptr) {
                             Thread::sleep(20ms);  // the tasks have ended meanwhile
                             ++handled;
                           })
                           .factory();
  for (const bool is_pool : {true, false}) {
    handled = 0;
    {
      const auto executor = is_pool ? creel::executors::new_fixed_thread_pool(2, factory)
                                    : creel::executors::new_thread_per_task_executor(factory);
      for (int i = 0; i < 5; ++i) executor->execute([] { throw creel::Error("not caught"); });
      Thread::current().interrupt();  // does not end the wait, and stays
    }
    CHECK(handled == 5);
    CHECK(Thread::interrupted());
  }
}

TEST_CASE("a fixed pool takes its threads from the factory") {
  auto pool = creel::executors::new_fixed_thread_pool(2, Thread::of_virtual().name("step-", 0).factory());
  CHECK(pool->submit([] { return Thread::current_name(); }).get().rfind("step-", 0) == 0);
}

TEST_CASE("a cached pool has a thread for each task that would have to wait, and uses idle ones again") {
  auto pool = creel::executors::new_cached_thread_pool();
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> arrived{0};
    std::vector<creel::Future<void>> futures;
    for (int i = 0; i < 8; ++i) {
      futures.push_back(pool->submit([&] {  // only all of them together can end
        ++arrived;
        while (arrived < 8) Thread::yield();
      }));
    }
    for (const auto& future : futures) CHECK(future.wait(20s));
  }
  const auto& threads = dynamic_cast<creel::ThreadPoolExecutor&>(*pool);
  CHECK(threads.counts().largest >= 8);
  CHECK(threads.counts().largest < 100);
}

TEST_CASE("a single thread runs tasks in their order") {
  auto pool = creel::executors::new_single_thread_executor();
  std::vector<int> order;
  for (int i = 0; i < 500; ++i) pool->execute([&order, i] { order.push_back(i); });
  pool->close();
  REQUIRE(order.size() == 500);
  for (int i = 0; i < 500; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("a thread of one's own making for each task") {
  auto executor = creel::executors::new_thread_per_task_executor(
      Thread::of_platform().name("worker-", 1).factory(), "requests");
  const auto name = [] { return Thread::current_name(); };
  CHECK(executor->submit(name).get() == "worker-1");
  CHECK(executor->submit(name).get() == "worker-2");
  const auto container = executor->submit([] { return creel::detail::current_record().container->name; });
  CHECK(container.get() == "requests");
}

namespace {

// Every kind of executor, on threads of `factory`.
std::vector<std::unique_ptr<creel::ExecutorService>> all_kinds(const creel::ThreadFactory& factory) {
  std::vector<std::unique_ptr<creel::ExecutorService>> kinds;
  kinds.push_back(creel::executors::new_fixed_thread_pool(2, factory));
  kinds.push_back(creel::executors::new_cached_thread_pool(factory));
  kinds.push_back(creel::executors::new_scheduled_thread_pool(1, factory));
  kinds.push_back(creel::executors::new_thread_per_task_executor(factory));
  kinds.push_back(std::make_unique<creel::ForkJoinPool>(
      creel::ForkJoinPool::Options{.parallelism = 2, .factory = factory}));
  return kinds;
}

}  // namespace

TEST_CASE("a factory may give its threads unstarted, as Java's do") {
  const creel::ThreadFactory as_in_java = [](std::function<void()> body) {
    return Thread::of_platform().name("of-java").unstarted(std::move(body));
  };
  for (const auto& executor : all_kinds(as_in_java)) {
    CHECK(executor->submit([] { return Thread::current_name(); }).get(60s) == "of-java");
  }
  creel::TaskScope scope{creel::joiners::all_successful_or_throw<std::string>(), {.factory = as_in_java}};
  scope.fork([] { return Thread::current_name(); });
  CHECK(scope.join().front() == "of-java");
}

TEST_CASE("a factory that makes no thread: tasks are refused, and the executor comes to its end") {
  for (const auto& executor : all_kinds([](const std::function<void()>&) { return Thread(); })) {
    for (int i = 0; i < 100; ++i) CHECK_THROWS_AS(executor->submit([] {}), creel::RejectedError);
    executor->shutdown();
    CHECK(executor->await_termination(60s));
  }
}

TEST_CASE("a work-stealing pool: an idle thread takes what a busy one has forked") {
  auto pool = creel::executors::new_work_stealing_pool(2);
  creel::CountDownLatch taken{1};
  const auto outer = pool->submit([&] {
    pool->execute([&] { taken.count_down(); });  // into the queue of this thread, which then waits
    return taken.await(60s);
  });
  CHECK(outer.get());
  const std::unique_ptr<creel::ExecutorService> sized = creel::executors::new_work_stealing_pool();
  CHECK(sized->submit([] { return 1; }).get() == 1);
}
