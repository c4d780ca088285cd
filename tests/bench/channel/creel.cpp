// What an item pays for passing from one stage to the next, all timing included.
//
//   bench_channel [ITEMS]
//   {"case":"channel, one thread","ns_per_item":…}         put and take without anybody waiting
//   {"case":"channel, two threads","ns_per_item":…}        a producer and a consumer that do nothing else
//   {"case":"graph, source -> map -> sink","ns_per_item":…,"cpu_ns_per_item":…}   of one hop: half of the
//   whole

#include <creel/runtime/thread.hpp>
#include <creel/scheduler/graph_runner.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

using creel::scheduler::Channel;
using creel::scheduler::Flow;
using creel::scheduler::GraphRunner;
using creel::scheduler::TaskGraph;

namespace {

double seconds(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

template <typename Body>
void measure(const char* name, double operations, Body body) {
  const double start = seconds(CLOCK_MONOTONIC);
  const double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
  body();
  std::printf("{\"case\":\"%s\",\"ns_per_item\":%.0f,\"cpu_ns_per_item\":%.0f}\n", name,
              (seconds(CLOCK_MONOTONIC) - start) * 1e9 / operations,
              (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e9 / operations);
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t items = argc > 1 ? std::atoll(argv[1]) : 1'000'000;
  const auto count = static_cast<double>(items);
  measure("channel, one thread", count, [&] {
    Channel<std::int64_t> channel("a", "b", 64);
    for (std::int64_t i = 0; i < items; ++i) {
      if (!channel.put(i) || channel.take() != i) std::abort();
    }
  });
  measure("channel, two threads", count, [&] {
    Channel<std::int64_t> channel("a", "b", 64);
    const creel::Thread consumer = creel::Thread::of_platform().name("consumer").start([&] {
      std::int64_t sum = 0;
      while (const std::optional<std::int64_t> item = channel.take()) sum += *item;
      if (sum != items * (items - 1) / 2) std::abort();
    });
    for (std::int64_t i = 0; i < items; ++i) {
      if (!channel.put(i)) std::abort();
    }
    channel.close();
    consumer.join();
  });
  measure("graph, source -> map -> sink", 2 * count, [&] {
    TaskGraph graph("bench");
    const auto numbers = graph.source<std::int64_t>(
        {.name = "source", .capacity = 64}, [next = std::int64_t{0}, items]() mutable {
          return next < items ? std::optional(next++) : std::nullopt;
        });
    const auto same =
        graph.map(numbers, {.name = "map", .capacity = 64}, [](std::int64_t item) { return item; });
    graph.sink(same, {.name = "sink"}, [](std::int64_t) {});
    GraphRunner(graph).run();
  });
}
