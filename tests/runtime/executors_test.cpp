#include "thread_container_node.hpp"
#include "thread_record.hpp"

#include <creel/runtime/executors.hpp>

#include <doctest/doctest.h>

#include <atomic>
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

TEST_CASE("a fixed pool takes its threads from the factory") {
  auto pool = creel::executors::new_fixed_thread_pool(2, Thread::of_virtual().name("step-", 0).factory());
  CHECK(pool->submit([] { return Thread::current_name(); }).get().rfind("step-", 0) == 0);
}
