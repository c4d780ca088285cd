// What C++ itself offers: the plain recursion, std::async, std::mutex, and a map under one.
#include "map_load.hpp"
#include "rival.hpp"

#include <atomic>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

void fork_join() {
  volatile int n = kFib;  // volatile: a pure call would be moved out of the measured loop
  volatile std::int64_t result = 0;
  report("fib32.seq", "cpp", best_ns(5, [&] { result = plain_fib(n); }) / 1e6, "ms");
}

void submit() {
  constexpr int kRoundTrips = 5'000;
  const double ns = best_ns(8, [] {
    for (int i = 0; i < kRoundTrips; ++i) {
      if (std::async(std::launch::async, [i] { return i + 1; }).get() != i + 1) std::abort();
    }
  });
  report("submit.roundtrip", "std-async", ns / kRoundTrips, "ns");
}

void lock() {
  for (const int threads : {1, 2, 8}) {
    std::mutex mutex;
    std::uint64_t counter = 0;
    std::atomic<bool> stop{false};
    std::vector<std::thread> all;
    const double start = now_ns();
    for (int i = 0; i < threads; ++i) {
      all.emplace_back([&] {
        while (!stop.load(std::memory_order_relaxed)) {
          const std::lock_guard guard{mutex};
          ++counter;
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(700));
    stop = true;
    for (std::thread& thread : all) thread.join();
    report("lock.contended.t" + std::to_string(threads), "std-mutex",
           static_cast<double>(counter) / ((now_ns() - start) / 1e3), "Mops/s");
  }
}

template <typename Mutex, typename Reading>
struct Locked {
  std::unordered_map<std::uint64_t, std::uint64_t> map;
  Mutex mutex;
  std::uint64_t get(std::uint64_t key) {
    const Reading guard{mutex};
    const auto at = map.find(key);
    return at == map.end() ? 0 : at->second;
  }
  void put(std::uint64_t key, std::uint64_t value) {
    const std::lock_guard guard{mutex};
    map[key] = value;
  }
  void remove(std::uint64_t key) {
    const std::lock_guard guard{mutex};
    map.erase(key);
  }
};

template <typename Map>
void maps(const char* peer) {
  for (const MapLoad& load : map_loads()) {
    Map map;
    report(load.metric, peer, map_call_ns(map, load), "ns");
  }
}

}  // namespace

int main(int, char** argv) {
  const std::string group = argv[1] != nullptr ? argv[1] : "";
  if (group == "fork-join") fork_join();
  if (group == "submit") submit();
  if (group == "lock") lock();
  if (group == "map") {
    maps<Locked<std::mutex, std::lock_guard<std::mutex>>>("std-mutex");
    maps<Locked<std::shared_mutex, std::shared_lock<std::shared_mutex>>>("std-shared-mutex");
  }
}
