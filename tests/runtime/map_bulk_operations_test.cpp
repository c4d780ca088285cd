#include <creel/runtime/concurrent_hash_map.hpp>
#include <creel/runtime/fork_join_pool.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;
using creel::ConcurrentHashMap;
using creel::Thread;

namespace {

constexpr std::size_t kSequential = 1'000'000;  // more than the maps of these tests have
constexpr std::size_t kParallel = 1;

void fill(ConcurrentHashMap<int, std::string>& map) {
  for (int i = 1; i <= 100; ++i) map.put(i, std::to_string(i));
}

const auto odd_only = [](int key) { return key % 2 == 1 ? std::optional(key) : std::nullopt; };

}  // namespace

TEST_CASE("map_bulk_operations: for_each and its like visit all, at any threshold") {
  ConcurrentHashMap<int, std::string> map;
  fill(map);
  std::atomic<int> sum{0};
  map.for_each([&](int key, const std::string& value) { sum += key + std::stoi(value); });
  CHECK(sum == 10100);
  for (const std::size_t threshold : {kParallel, kSequential}) {
    CAPTURE(threshold);
    const auto summed = [&](const auto& run) {
      sum = 0;
      run();
      return sum.load();
    };
    const auto add = [&](int number) { sum += number; };
    CHECK(summed([&] { map.for_each(threshold, [&](int key, const std::string&) { sum += key; }); }) == 5050);
    CHECK(summed([&] {
            map.for_each(
                threshold, [](int key, const auto&) { return odd_only(key); }, add);
          }) == 2500);
    CHECK(summed([&] { map.for_each_key(threshold, add); }) == 5050);
    CHECK(summed([&] { map.for_each_key(threshold, odd_only, add); }) == 2500);
    CHECK(summed([&] {
            map.for_each_value(threshold, [&](const std::string& v) { sum += std::stoi(v); });
          }) == 5050);
    CHECK(summed([&] {
            map.for_each_value(
                threshold, [](const std::string& v) { return std::stoi(v); }, add);
          }) == 5050);
    CHECK(summed([&] { map.for_each_entry(threshold, [&](const auto& entry) { sum += entry.key; }); }) ==
          5050);
    CHECK(summed([&] {
            map.for_each_entry(
                threshold, [](const auto& entry) { return odd_only(entry.key); }, add);
          }) == 2500);
  }
}

TEST_CASE("map_bulk_operations: search finds one or none, and then stops") {
  ConcurrentHashMap<int, std::string> map;
  fill(map);
  for (const std::size_t threshold : {kParallel, kSequential}) {
    CAPTURE(threshold);
    const auto wanted = [](const std::string& value) {
      return value == "42" ? std::optional(42) : std::nullopt;
    };
    CHECK(map.search(threshold, [&](int, const std::string& value) { return wanted(value); }) == 42);
    CHECK(map.search_keys(threshold, [](int key) { return key == 7 ? std::optional(7) : std::nullopt; }) ==
          7);
    CHECK(map.search_values(threshold, wanted) == 42);
    CHECK(map.search_entries(threshold, [&](const auto& entry) { return wanted(entry.value); }) == 42);
    CHECK_FALSE(map.search(threshold, [](int, const auto&) { return std::optional<int>(); }));
    CHECK_FALSE(map.search_keys(threshold, [](int) { return std::optional<int>(); }));
  }
  int calls = 0;
  CHECK(map.search_keys(kSequential, [&](int key) { return ++calls, std::optional(key); }));
  CHECK(calls == 1);
}

TEST_CASE("map_bulk_operations: reduce and its like combine all, with a basis or without") {
  ConcurrentHashMap<int, std::string> map;
  const auto key_of = [](int key, const std::string&) { return static_cast<long>(key); };
  const auto most = [](const auto& a, const auto& b) { return std::max(a, b); };
  CHECK_FALSE(map.reduce(kParallel, key_of, std::plus<>()));
  CHECK(map.reduce(kParallel, key_of, 7L, std::plus<>()) == 7);  // nothing but the basis
  CHECK_FALSE(map.reduce_keys(kSequential, most));
  fill(map);
  for (const std::size_t threshold : {kParallel, kSequential}) {
    CAPTURE(threshold);
    CHECK(map.reduce(threshold, key_of, std::plus<>()) == 5050);
    CHECK(map.reduce(threshold, key_of, 0L, std::plus<>()) == 5050);
    CHECK(map.reduce(
              threshold, [](int key, const auto&) { return odd_only(key); }, std::plus<>()) == 2500);
    CHECK(map.reduce_keys(threshold, most) == 100);
    CHECK(map.reduce_keys(threshold, odd_only, most) == 99);
    CHECK(map.reduce_keys(
              threshold, [](int key) { return key * 0.5; }, 0.0, std::plus<>()) == 2525.0);
    CHECK(map.reduce_values(threshold, most) == "99");  // by letters
    const auto length = [](const std::string& value) { return value.size(); };
    CHECK(map.reduce_values(threshold, length, std::plus<>()) == 192);
    CHECK(map.reduce_values(threshold, length, std::size_t{0}, std::plus<>()) == 192);
    const auto longer = [](const auto& a, const auto& b) { return a.value.size() < b.value.size() ? b : a; };
    CHECK(map.reduce_entries(threshold, longer)->key == 100);
    const auto number = [](const auto& entry) { return entry.key; };
    CHECK(map.reduce_entries(threshold, number, std::plus<>()) == 5050);
    CHECK(map.reduce_entries(threshold, number, 1, std::plus<>()) == 5051);
    // None passes: as if there were nothing.
    CHECK_FALSE(map.reduce_keys(
        threshold, [](int) { return std::optional<int>(); }, std::plus<>()));
  }
}

TEST_CASE("map_bulk_operations: from the threshold on the workers of the common pool share the work") {
  ConcurrentHashMap<int, int> map;
  for (int i = 0; i < 1000; ++i) map.put(i, i);
  std::mutex mutex;
  std::set<std::uint64_t> threads;
  const auto note = [&](int, int) {
    const std::lock_guard guard{mutex};
    threads.insert(Thread::current().id());
  };
  map.for_each(1001, note);
  CHECK(threads == std::set<std::uint64_t>{Thread::current().id()});
  threads.clear();
  map.for_each(1000, note);
  CHECK_FALSE(threads.contains(Thread::current().id()));
  // From a worker and from a virtual thread too.
  const auto sum = [&] { return map.reduce_keys(1, std::plus<>()); };
  CHECK(creel::ForkJoinPool::common().invoke(sum) == 499500);
  std::optional<int> from_virtual;
  CHECK(Thread::of_virtual().start([&] { from_virtual = sum(); }).join(60s));
  CHECK(from_virtual == 499500);
}

TEST_CASE("map_bulk_operations: what a function throws comes out, and the map still works") {
  ConcurrentHashMap<int, int> map;
  for (int i = 0; i < 1000; ++i) map.put(i, i);
  for (const std::size_t threshold : {kParallel, kSequential}) {
    CHECK_THROWS_AS(map.for_each_key(threshold,
                                     [](int key) {
                                       if (key == 500) throw std::runtime_error("no");
                                     }),
                    std::runtime_error);
  }
  map.for_each_key(kParallel, [&](int key) { map.remove(key); });  // they may change it
  CHECK(map.is_empty());
}

TEST_CASE("map_bulk_operations: in parallel with writers all that stays is counted once") {
  ConcurrentHashMap<int, int> map;
  constexpr int kStay = 2000;
  for (int i = 0; i < kStay; ++i) map.put(i, 1);
  std::atomic<bool> end{false};
  const Thread writer = Thread::of_platform().start([&] {
    for (int i = 0; !end; ++i) {
      map.put(kStay + i % 3000, 1);
      map.remove(kStay + (i * 11) % 3000);
    }
  });
  for (int round = 0; round < (creel_test::kThreadSanitizer ? 20 : 100); ++round) {
    const int count = map.reduce(
        kParallel, [](int key, int value) { return key < kStay ? value : 0; }, 0, std::plus<>());
    if (count != kStay) FAIL_CHECK("counted ", count);
  }
  end = true;
  CHECK(writer.join(60s));
}
