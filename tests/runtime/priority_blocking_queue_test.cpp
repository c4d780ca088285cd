// The contract of every BlockingQueue is tested in blocking_queue_test.cpp.
#include <creel/runtime/priority_blocking_queue.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <vector>

TEST_CASE("a priority queue gives out the least first, whatever was put, removed and drained") {
  creel::PriorityBlockingQueue<int> queue;
  CHECK(queue.remaining_capacity() == std::numeric_limits<std::size_t>::max());
  std::mt19937 random(7);
  for (int i = 0; i < 500; ++i) queue.put(static_cast<int>(random() % 100));
  CHECK(queue.remove_if([](int element) { return element % 3 == 0; }) > 0);
  CHECK(queue.peek() == 1);
  std::vector<int> out;
  queue.drain_to(std::back_inserter(out), 100);
  for (int i = 0; i < 50; ++i) queue.put(static_cast<int>(200 + random() % 100));
  queue.drain_to(std::back_inserter(out));
  CHECK(std::is_sorted(out.begin(), out.end()));
  CHECK(out.size() > 300);
}

TEST_CASE("the order is the comparator's") {
  struct Job {
    int urgency;
    std::unique_ptr<int> payload;
  };
  const auto more_urgent = [](const Job& a, const Job& b) { return a.urgency > b.urgency; };
  creel::PriorityBlockingQueue<Job, decltype(more_urgent)> jobs{"jobs", more_urgent};
  jobs.put({1, std::make_unique<int>(10)});
  jobs.put({3, std::make_unique<int>(30)});
  jobs.put({2, nullptr});
  CHECK(*jobs.take()->payload == 30);
  CHECK(jobs.take()->urgency == 2);
  CHECK(jobs.comparator()(Job{2, nullptr}, Job{1, nullptr}));
}
