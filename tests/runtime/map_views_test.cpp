#include <creel/runtime/concurrent_hash_map.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <ranges>
#include <set>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::ConcurrentHashMap;
using creel::Thread;

namespace {

template <typename View>
auto sorted(const View& view) {
  auto all = view.snapshot();
  std::sort(all.begin(), all.end());
  return all;
}

template <typename View>
concept Removes = requires(const View& view) {
  view.remove(1);
};

}  // namespace

TEST_CASE("map_views: key_set shows and changes the map") {
  ConcurrentHashMap<std::string, int> map;
  const auto keys = map.key_set();
  CHECK(keys.is_empty());
  map.put("a", 1);  // the view is older
  map.put("b", 2);
  map.put("c", 3);
  CHECK(keys.size() == 3);
  CHECK(sorted(keys) == std::vector<std::string>{"a", "b", "c"});
  CHECK(keys.contains("a"));
  CHECK_FALSE(keys.contains("d"));
  CHECK(keys.remove("a"));
  CHECK_FALSE(keys.remove("a"));
  CHECK_FALSE(map.contains_key("a"));
  CHECK(keys.remove_if([](const std::string& key) { return key == "b"; }) == 1);
  CHECK(&keys.map() == &map);
  CHECK_FALSE(keys.mapped_value());
  CHECK_THROWS_WITH_AS(keys.add("x"), doctest::Contains("key_set(value)"), creel::Error);
  CHECK_FALSE(map.contains_key("x"));
  keys.clear();
  CHECK(map.is_empty());
}

TEST_CASE("map_views: key_set with a mapped value adds keys") {
  ConcurrentHashMap<int, std::string> map;
  map.put(1, "one");
  const auto keys = map.key_set("new");
  CHECK(keys.mapped_value() == "new");
  CHECK_FALSE(keys.add(1));
  CHECK(keys.add(2));
  CHECK(map.get(1) == "one");
  CHECK(map.get(2) == "new");
  CHECK(keys.add_all(std::vector<int>{1, 3, 3, 4}));
  CHECK_FALSE(keys.add_all(std::vector<int>{1, 3}));
  CHECK(sorted(keys) == std::vector<int>{1, 2, 3, 4});
  CHECK(map.get(4) == "new");
}

TEST_CASE("map_views: new_key_set is a set of its own, which lives with its last copy") {
  using Set = ConcurrentHashMap<std::string, bool>;
  auto seen = [] {
    const auto made = Set::new_key_set(100, "seen");
    CHECK(made.add("first"));
    return made;  // the map lives on
  }();
  CHECK(seen.contains("first"));
  CHECK_FALSE(seen.add("first"));
  CHECK(Set::new_key_set().is_empty());  // another one
  std::atomic<int> added{0};
  std::vector<Thread> threads;
  for (int t = 0; t < 4; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&added, seen] {
      for (int i = 0; i < 1000; ++i) added += seen.add(std::to_string(i)) ? 1 : 0;
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(added == 1000);  // each by one thread only
  CHECK(seen.size() == 1001);
}

TEST_CASE("map_views: values show and remove") {
  ConcurrentHashMap<int, std::string> map;
  const auto values = map.values();
  for (int i = 0; i < 6; ++i) map.put(i, i % 2 == 0 ? "even" : "odd");
  CHECK(values.size() == 6);
  CHECK(values.contains("odd"));
  CHECK_FALSE(values.contains("none"));
  CHECK(values.remove("odd"));  // one of them
  CHECK_FALSE(values.remove("none"));
  CHECK(map.size() == 5);
  CHECK(sorted(values) == std::vector<std::string>{"even", "even", "even", "odd", "odd"});
  CHECK(values.remove_if([](const std::string& value) { return value == "even"; }) == 3);
  CHECK(sorted(map.key_set()).size() == 2);
  values.clear();
  CHECK(map.is_empty());
  ConcurrentHashMap<int, bool> flags;  // elements of a vector<bool> could not be referred to
  flags.put(1, true);
  for (const bool& flag : flags.values()) CHECK(flag);
}

TEST_CASE("map_views: entry_set shows, adds and removes") {
  ConcurrentHashMap<std::string, int> map;
  const auto entries = map.entry_set();
  CHECK(entries.add({"a", 1}));
  CHECK(entries.add({"b", 2}));
  CHECK_FALSE(entries.add({"a", 3}));  // put, as Java's
  CHECK(map.get("a") == 3);
  CHECK(entries.contains({"a", 3}));
  CHECK_FALSE(entries.contains({"a", 1}));
  CHECK_FALSE(entries.remove({"a", 1}));
  CHECK(entries.remove({"a", 3}));
  CHECK(map.put("c", 3) == std::nullopt);
  std::set<std::string> seen;
  for (const auto& [key, value] : entries) {
    seen.insert(key + std::to_string(value));
    map.remove(key);  // the loop may change the map
  }
  CHECK(seen == std::set<std::string>{"b2", "c3"});
  CHECK(entries.is_empty());
  entries.add({"d", 4});
  entries.add({"e", 5});
  CHECK(entries.remove_if([](const auto& entry) { return entry.value == 4; }) == 1);
  CHECK(entries.snapshot() == std::vector<creel::MapEntry<std::string, int>>{{"e", 5}});
}

TEST_CASE("map_views: a view is a range, also of a map that may only be read") {
  ConcurrentHashMap<int, int> map;
  for (int i = 0; i < 100; ++i) map.put(i, i * i);
  const ConcurrentHashMap<int, int>& same = map;
  static_assert(std::ranges::input_range<decltype(map.key_set())>);
  static_assert(std::ranges::view<decltype(map.values())>);
  static_assert(std::ranges::view<decltype(same.entry_set())>);
  // Its size may change under the loop, so that no algorithm may count on it.
  static_assert(!std::ranges::sized_range<decltype(map.values())>);
  static_assert(!std::ranges::sized_range<decltype(map)>);
  static_assert(Removes<decltype(map.key_set())>);
  static_assert(!Removes<decltype(same.key_set())>);
  int sum = 0;
  for (const int key : same.key_set() | std::views::filter([](int each) { return each % 2 == 0; }))
    sum += key;
  CHECK(sum == 2450);
  CHECK(std::ranges::count_if(same.values(), [](int value) { return value < 100; }) == 10);
  CHECK(same.key_set().contains(5));
  CHECK(same.values().contains(25));
  CHECK(same.entry_set().contains({5, 25}));
}

TEST_CASE("map_views: iteration is weakly consistent: what stays is seen once, and nothing fails") {
  ConcurrentHashMap<int, int> map;
  for (int i = 0; i < 500; ++i) map.put(i, i);
  std::atomic<bool> end{false};
  const Thread writer = Thread::of_platform().start([&] {
    for (int i = 0; !end; ++i) {  // others come and go, tables grow
      map.put(1000 + i % 5000, i);
      map.remove(1000 + (i * 7) % 5000);
    }
  });
  for (int round = 0; round < 50; ++round) {
    std::multiset<int> seen;
    for (const int key : map.key_set()) seen.insert(key);
    for (int i = 0; i < 500; ++i) {
      if (seen.count(i) != 1) FAIL_CHECK("key ", i, " seen ", seen.count(i), " times");
    }
    if (std::any_of(seen.begin(), seen.end(), [&](int key) { return seen.count(key) > 1; }))
      FAIL_CHECK("a key twice");
  }
  end = true;
  CHECK(writer.join(60s));
}
