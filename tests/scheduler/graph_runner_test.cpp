#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/scheduler/graph_runner.hpp>

#include <creel_test/eventually.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using namespace creel::scheduler;
using creel::Thread;
using creel_test::eventually;

namespace {

auto count_to(int end) {
  return [next = 0, end]() mutable -> std::optional<int> {
    return next < end ? std::optional(next++) : std::nullopt;
  };
}

auto count_forever() { return count_to(std::numeric_limits<int>::max()); }

// Uneven work, so that workers finish out of order.
int spin(int item) {
  volatile int sink = 0;
  for (int i = 0; i < (item * 7919) % 4000; ++i) sink = i;
  return item + sink * 0;
}

}  // namespace

TEST_CASE("a map keeps the order of its input with any number of workers") {
  for (const std::size_t workers : {1, 2, 4, 7}) {
    CAPTURE(workers);
    TaskGraph graph("order");
    std::vector<int> seen;
    const Flow<int> numbers = graph.source<int>({.name = "count"}, count_to(2000));
    const Flow<int> squares = graph.map(numbers, {.name = "spin", .workers = workers}, spin);
    graph.sink(squares, {.name = "collect"}, [&](int item) { seen.push_back(item); });
    GraphRunner(graph).run();
    std::vector<int> expected(2000);
    std::iota(expected.begin(), expected.end(), 0);
    CHECK(seen == expected);
  }
}

TEST_CASE("a graph is a value: it can be run again, from its beginning") {
  TaskGraph graph("twice");
  std::atomic<int> sum = 0;
  graph.sink(graph.source<int>({.name = "count"}, count_to(10)), {.name = "sum"},
             [&](int item) { sum += item; });
  const TaskGraph copy = graph;
  GraphRunner(graph).run();
  GraphRunner(graph).run();
  GraphRunner(copy).run();
  CHECK(sum == 3 * 45);
}

TEST_CASE("workers are named threads that say what they are at") {
  TaskGraph graph("named");
  std::mutex lock;
  std::set<std::string> names;
  creel::CountDownLatch all_here(3);
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_to(3));
  graph.sink(numbers, {.name = "work", .workers = 3}, [&](int) {
    {
      const std::lock_guard guard(lock);
      names.insert(Thread::current_name());
    }
    all_here.count_down();
    all_here.await();  // three items are held at once: three workers are real
  });
  GraphRunner(graph).run();
  CHECK(names == std::set<std::string>{"work-0", "work-1", "work-2"});
}

TEST_CASE("each worker of a map has a copy of the body") {
  TaskGraph graph("copies");
  creel::CountDownLatch both(2);
  std::vector<int> firsts;
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_to(2));
  const Flow<int> calls = graph.map(numbers, {.name = "own", .workers = 2}, [&both, mine = 0](int) mutable {
    both.count_down();
    both.await();
    return ++mine;
  });
  graph.sink(calls, {.name = "collect"}, [&](int n) { firsts.push_back(n); });
  GraphRunner(graph).run();
  CHECK(firsts == std::vector<int>{1, 1});
}

TEST_CASE("an aggregate makes few of many, and finishes what is left") {
  TaskGraph graph("batches");
  std::vector<std::vector<int>> batches;
  auto open = std::make_shared<std::vector<int>>();
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_to(7));
  const auto batch = graph.aggregate<std::vector<int>>(
      numbers, {.name = "batch"},
      [open](int item, Emitter<std::vector<int>>& emit) {
        open->push_back(item);
        if (open->size() == 3) emit(std::exchange(*open, {}));
      },
      [open](Emitter<std::vector<int>>& emit) { emit(std::exchange(*open, {})); });
  graph.sink(batch, {.name = "collect"},
             [&](std::vector<int> items) { batches.push_back(std::move(items)); });
  GraphRunner(graph).run();
  CHECK(batches == std::vector<std::vector<int>>{{0, 1, 2}, {3, 4, 5}, {6}});
}

TEST_CASE("a Failure drops its item, in order, and the hook hears of it") {
  TaskGraph graph("drops");
  std::vector<int> seen;
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_to(1000));
  const auto odd = graph.map(
      numbers, {.name = "odd", .workers = 3},
      [](int n) -> creel::Result<int> {
        spin(n);
        if (n % 2 == 0) return creel::Failure{creel::ErrorCode::Data, "even"};
        return n;
      },
      creel::scheduler::ItemName<int>([](const int& n) { return "item-" + std::to_string(n); }));
  graph.sink(odd, {.name = "collect"}, [&](int n) { seen.push_back(n); });
  std::mutex lock;
  std::set<std::string> dropped;
  GraphRunner runner(graph, {.item_dropped = [&](const StageInfo& stage, const std::string& item,
                                                 const creel::Failure& why) {
                       const std::lock_guard guard(lock);
                       CHECK(stage.name == "odd");
                       CHECK(why.message == "even");
                       dropped.insert(item);
                     }});
  runner.run();
  CHECK(seen.size() == 500);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  CHECK(seen.front() == 1);
  CHECK(dropped.size() == 500);
  CHECK(dropped.contains("item-998"));
  CHECK(runner.stats()[1].items == 1000);
  CHECK(runner.stats()[1].dropped == 500);
}

TEST_CASE("the first exception ends every stage and comes out of run") {
  // In each place once; the other stages then wait for room, for items, or in a lock of the program's.
  for (const std::string place : {"count", "spin", "collect"}) {
    CAPTURE(place);
    TaskGraph graph("failing");
    const auto fail_at = [&place](const std::string& stage, int item) {
      if (stage == place && item == 100) throw creel::Error("no more in " + place, creel::ErrorCode::Data);
    };
    const Flow<int> numbers =
        graph.source<int>({.name = "count"}, [&, next = 0]() mutable -> std::optional<int> {
          fail_at("count", next);
          return next++;
        });
    const Flow<int> same = graph.map(numbers, {.name = "spin", .workers = 3}, [&](int n) {
      fail_at("spin", n);
      return spin(n);
    });
    graph.sink(same, {.name = "collect"}, [&](int n) { fail_at("collect", n); });
    const std::string message = "no more in " + place;
    CHECK_THROWS_WITH_AS(GraphRunner(graph).run(), message.c_str(), creel::Error);
  }
}

TEST_CASE("a failure interrupts workers that wait elsewhere") {
  TaskGraph graph("waiting");
  creel::CountDownLatch never(1);
  creel::CountDownLatch inside(1);
  std::atomic<bool> interrupted = false;
  const Flow<int> left = graph.source<int>({.name = "left"}, count_to(1));
  graph.sink(left, {.name = "stuck"}, [&](int) {
    inside.count_down();
    try {
      never.await();
    } catch (const creel::InterruptedError&) {
      interrupted = true;
      throw;
    }
  });
  const Flow<int> right = graph.source<int>({.name = "right"}, count_to(1));
  graph.sink(right, {.name = "thrower"}, [&](int) {
    inside.await();
    throw creel::Error("the real reason");
  });
  CHECK_THROWS_WITH(GraphRunner(graph).run(), "the real reason");
  CHECK(interrupted.load());
}

TEST_CASE("a sink that has enough ends an endless run in good order") {
  TaskGraph graph("enough");
  int last = -1;
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_forever());
  const Flow<int> same = graph.map(numbers, {.name = "spin", .workers = 2}, spin);
  graph.sink(same, {.name = "collect"}, [&](int n) {
    last = n;
    return n < 500;
  });
  GraphRunner(graph).run();
  CHECK(last == 500);
}

TEST_CASE("request_stop ends an endless run without an error") {
  TaskGraph graph("stopped");
  std::atomic<int> seen = 0;
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_forever());
  graph.sink(numbers, {.name = "collect"}, [&](int) { ++seen; });
  GraphRunner runner(graph);
  runner.start();
  REQUIRE(eventually([&] { return seen > 100; }));
  CHECK_FALSE(runner.join(1ms));
  runner.request_stop();
  CHECK(runner.join(10s));
}

TEST_CASE("interrupting run ends it by InterruptedError, with no worker left") {
  TaskGraph graph("interrupted");
  std::atomic<int> seen = 0;
  std::atomic<bool> thrown = false;
  graph.sink(graph.source<int>({.name = "count"}, count_forever()), {.name = "collect"},
             [&](int) { ++seen; });
  const Thread caller = Thread::of_platform().name("caller").start([&] {
    try {
      GraphRunner(graph).run();
    } catch (const creel::InterruptedError&) {
      thrown = true;
    }
  });
  REQUIRE(eventually([&] { return seen > 100; }));
  caller.interrupt();
  REQUIRE(caller.join(10s));
  CHECK(thrown.load());
  const int after = seen;
  CHECK_FALSE(eventually([&] { return seen != after; }, 20ms));
}

TEST_CASE("a runner that goes out of scope takes its workers with it") {
  std::atomic<int> seen = 0;
  TaskGraph graph("scoped");
  graph.sink(graph.source<int>({.name = "count"}, count_forever()), {.name = "collect"},
             [&](int) { ++seen; });
  {
    GraphRunner runner(graph);
    runner.start();
    REQUIRE(eventually([&] { return seen > 0; }));
  }
  const int after = seen;
  CHECK_FALSE(eventually([&] { return seen != after; }, 20ms));
}

TEST_CASE("stage hooks see the beginning and the end, and may refuse either") {
  TaskGraph graph("hooks");
  graph.sink(graph.source<int>({.name = "count"}, count_to(5)), {.name = "collect"}, [](int) {});
  std::mutex lock;
  std::multiset<std::string> events;
  Hooks hooks;
  hooks.stage_started = [&](const StageInfo& stage) {
    const std::lock_guard guard(lock);
    events.insert("start " + stage.name);
  };
  hooks.stage_ended = [&](const StageInfo& stage, const StageStats& stats) {
    const std::lock_guard guard(lock);
    events.insert("end " + stage.name + " " + std::to_string(stats.items));
  };
  GraphRunner(graph, hooks).run();
  CHECK(events == std::multiset<std::string>{"start count", "start collect", "end count 5", "end collect 5"});

  hooks.stage_started = [](const StageInfo& stage) {
    if (stage.name == "collect") throw creel::Error("no room to collect");
  };
  CHECK_THROWS_WITH(GraphRunner(graph, hooks).run(), "no room to collect");
}

TEST_CASE("the caller's thread can be the last stage") {
  TaskGraph graph("outlet");
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_to(50));
  graph.outlet(numbers);
  GraphRunner runner(graph);
  runner.start();
  int sum = 0;
  for (const int item : *runner.channel(numbers)) sum += item;
  runner.join();
  CHECK(sum == 1225);
}

TEST_CASE("a flow that goes nowhere is refused before anything starts") {
  TaskGraph graph("loose");
  static_cast<void>(graph.source<int>({.name = "count"}, count_to(1)));
  CHECK_THROWS_WITH(GraphRunner{graph},
                    "graph loose: the output of stage count goes nowhere; connect it or make it an outlet");
}

TEST_CASE("figures: every item is counted, and a worker's time adds up to no more than its life") {
  TaskGraph graph("stats");
  const Flow<int> numbers = graph.source<int>({.name = "count"}, count_to(3000));
  const Flow<int> same = graph.map(numbers, {.name = "spin", .workers = 2}, spin);
  graph.sink(same, {.name = "collect"}, [](int) {});
  GraphRunner runner(graph);
  runner.run();
  const std::vector<StageStats> stats = runner.stats();
  REQUIRE(stats.size() == 3);
  for (const StageStats& stage : stats) {
    CAPTURE(stage.name);
    CHECK(stage.busy > 0);
    CHECK(stage.elapsed > 0);
    const double whole = stage.elapsed * static_cast<double>(stage.workers);
    CHECK(stage.busy + stage.starved + stage.blocked <= whole * 1.001);
  }
  CHECK(stats[0].items == 3000);
  CHECK(stats[1].items == 3000);
  CHECK(stats[2].items == 3000);
  CHECK(stats[0].starved == 0);  // a source has no input
  CHECK(stats[2].blocked == 0);  // a sink has no output
}

TEST_CASE("figures are live: a worker that is busy now counts up to now") {
  TaskGraph graph("live");
  creel::CountDownLatch inside(1);
  creel::CountDownLatch go_on(1);
  graph.sink(graph.source<int>({.name = "count"}, count_to(1)), {.name = "long"}, [&](int) {
    inside.count_down();
    go_on.await();
  });
  GraphRunner runner(graph);
  runner.start();
  inside.await();
  const double before = runner.stats()[1].busy;
  CHECK(eventually([&] { return runner.stats()[1].busy > before; }));
  CHECK(runner.stats()[1].items == 0);
  go_on.count_down();
  runner.join();
  CHECK(runner.stats()[1].items == 1);
}
