// The same load for each map of numbers to numbers; used by the rivals and by our own program.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

constexpr std::uint64_t kMapKeys = 1 << 16;
constexpr int kMapCalls =
    300'000;  // of each thread in a round: short, so that some rounds keep their processors
constexpr int kMapRounds = 20;

struct MapMix {
  const char* name;
  unsigned puts, removes;  // of 100 calls; the others get
};
// With as many removes as puts half of the keys are there; without removes all are.
constexpr MapMix kMapMixes[] = {{"map.get", 0, 0},
                                {"map.update10", 10, 0},
                                {"map.update50", 50, 0},
                                {"map.churn10", 5, 5},
                                {"map.churn50", 25, 25}};

struct MapLoad {
  std::string metric;  // "map.churn10.t2"
  MapMix mix;
  int threads;
};

inline std::vector<MapLoad> map_loads() {
  std::vector<MapLoad> all;
  for (const MapMix& mix : kMapMixes) {
    for (const int threads : {1, 2})
      all.push_back({mix.name + (".t" + std::to_string(threads)), mix, threads});
  }
  return all;
}

/// `Map` has get(key), put(key, value) and remove(key); get returns the value or 0. The nanoseconds that a
/// call takes its thread: the best of the rounds.
template <typename Map>
double map_call_ns(Map& map, const MapLoad& load) {
  for (std::uint64_t key = 0; key < kMapKeys; ++key) {
    map.put(key, key);
    if (load.mix.removes != 0 && key % 2 == 0) map.remove(key);
  }
  double best = 1e300;
  for (int round = 0; round < kMapRounds; ++round) {
    std::atomic<int> ready{0};
    std::atomic<std::uint64_t> sink{0};
    std::vector<std::thread> all;
    std::chrono::steady_clock::time_point start;
    for (int t = 0; t < load.threads; ++t) {
      all.emplace_back([&, t] {
        std::uint64_t random = 0x2545f4914f6cdd1dU * static_cast<std::uint64_t>(t + 1 + 8 * round);
        std::uint64_t sum = 0;
        if (++ready == load.threads) start = std::chrono::steady_clock::now();
        while (ready < load.threads) {
        }
        for (int i = 0; i < kMapCalls; ++i) {
          random ^= random << 13;  // xorshift64 (G. Marsaglia, Xorshift RNGs, 2003)
          random ^= random >> 7;
          random ^= random << 17;
          const std::uint64_t key = (random >> 8) % kMapKeys;
          const auto draw = static_cast<unsigned>((random >> 40) % 100);
          if (draw < load.mix.puts) {
            map.put(key, random);
          } else if (draw < load.mix.puts + load.mix.removes) {
            map.remove(key);
          } else {
            sum += map.get(key);
          }
        }
        sink += sum;
      });
    }
    for (std::thread& thread : all) thread.join();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / kMapCalls);
  }
  return best;
}
