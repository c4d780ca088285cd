// oneTBB: task_group for fork-join, an arena of workers for tasks from outside, its hash map.
#include "map_load.hpp"
#include "rival.hpp"

#include <oneapi/tbb/concurrent_hash_map.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include <atomic>
#include <future>
#include <string>

namespace tbb = oneapi::tbb;

namespace {

template <int Cut>
std::int64_t fib(int n) {
  if (n < 2) return n;
  if (n < Cut) return plain_fib(n);
  std::int64_t first = 0;
  tbb::task_group group;
  group.run([&] { first = fib<Cut>(n - 1); });
  const std::int64_t second = fib<Cut>(n - 2);
  group.wait();
  return first + second;
}

void fork_join() {
  volatile int n = kFib;
  volatile std::int64_t result = 0;
  for (const int workers : {1, 2}) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                    static_cast<std::size_t>(workers));
    tbb::task_arena arena(workers);
    const std::string suffix = ".p" + std::to_string(workers);
    arena.execute([&] {
      result = fib<0>(25);  // the workers are there
      report("fib32.nocut" + suffix, "onetbb", best_ns(3, [&] { result = fib<0>(n); }) / kFibCalls,
             "ns/task");
      report("fib32.cut16" + suffix, "onetbb", best_ns(5, [&] { result = fib<kCut>(n); }) / 1e6, "ms");
    });
  }
}

void submit() {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, 3);
  tbb::task_arena arena(2, 0);  // no place for the caller: a task really goes to another thread
  arena.initialize();
  constexpr int kRoundTrips = 20'000;
  const double round_trip = best_ns(12, [&] {
    for (int i = 0; i < kRoundTrips; ++i) {
      std::promise<int> promise;
      std::future<int> future = promise.get_future();
      arena.enqueue([&promise, i] { promise.set_value(i + 1); });
      if (future.get() != i + 1) std::abort();
    }
  });
  report("submit.roundtrip", "onetbb-enqueue", round_trip / kRoundTrips, "ns");
  constexpr int kBatch = 1'000'000;
  const double batch = best_ns(3, [&] {
    std::atomic<int> left{kBatch};
    std::promise<void> done;
    for (int i = 0; i < kBatch; ++i) {
      arena.enqueue([&] {
        if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) done.set_value();
      });
    }
    done.get_future().wait();
  });
  report("submit.batch1M", "onetbb-enqueue", batch / kBatch, "ns/task");
}

struct Numbers {
  using Map = tbb::concurrent_hash_map<std::uint64_t, std::uint64_t>;
  Map map;
  std::uint64_t get(std::uint64_t key) {
    Map::const_accessor at;
    return map.find(at, key) ? at->second : 0;
  }
  void put(std::uint64_t key, std::uint64_t value) {
    Map::accessor at;
    map.insert(at, key);
    at->second = value;
  }
  void remove(std::uint64_t key) { map.erase(key); }
};

void maps() {
  for (const MapLoad& load : map_loads()) {
    Numbers numbers;
    report(load.metric, "onetbb", map_call_ns(numbers, load), "ns");
  }
}

}  // namespace

int main(int, char** argv) {
  const std::string group = argv[1] != nullptr ? argv[1] : "";
  if (group == "fork-join") fork_join();
  if (group == "submit") submit();
  if (group == "map") maps();
}
