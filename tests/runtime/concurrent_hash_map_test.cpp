#include <creel/runtime/concurrent_hash_map.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::ConcurrentHashMap;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

namespace {

template <typename Body>
void on_threads(int count, Body body) {
  std::vector<Thread> threads;
  for (int t = 0; t < count; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&body, t] { body(t); }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
}

struct Three {
  char bytes[3];
  friend bool operator==(const Three&, const Three&) = default;
};
struct Large {
  long numbers[5];
  friend bool operator==(const Large&, const Large&) = default;
};

struct OneBucket {
  std::size_t operator()(int) const noexcept { return 7; }
};

}  // namespace

TEST_CASE("concurrent_hash_map: put, get, remove, replace") {
  ConcurrentHashMap<std::string, int> map{"words"};
  CHECK(map.is_empty());
  CHECK_FALSE(map.get("a"));
  CHECK_FALSE(map.remove("a"));
  CHECK_FALSE(map.put("a", 1));
  CHECK(map.put("a", 2) == 1);
  CHECK(map.get("a") == 2);
  CHECK(map.contains_key("a"));
  CHECK(map.get_or_default("b", 9) == 9);
  CHECK(map.get_or_default("a", 9) == 2);
  CHECK(map.put_if_absent("a", 5) == 2);
  CHECK_FALSE(map.put_if_absent("b", 5));
  CHECK(map.replace("b", 6) == 5);
  CHECK_FALSE(map.replace("c", 6));
  CHECK_FALSE(map.contains_key("c"));
  CHECK_FALSE(map.replace("b", 5, 7));
  CHECK(map.replace("b", 6, 7));
  CHECK_FALSE(map.remove("b", 6));
  CHECK(map.remove("b", 7));
  CHECK(map.remove("a") == 2);
  CHECK(map.size() == 0);
  std::string seen;
  map.put("k", 3);
  CHECK(map.visit("k", [&](const int& value) { seen = std::to_string(value); }));
  CHECK(seen == "3");
  CHECK_FALSE(map.visit("x", [](const int&) {}));
}

TEST_CASE("concurrent_hash_map: compute and its like set, keep and remove") {
  ConcurrentHashMap<std::string, int> map;
  const auto next = [](const std::string&, const int* before) { return before != nullptr ? *before + 1 : 1; };
  CHECK(map.compute("a", next) == 1);
  CHECK(map.compute("a", next) == 2);
  CHECK_FALSE(map.compute("a", [](const auto&, const int*) { return std::optional<int>(); }));
  CHECK_FALSE(map.contains_key("a"));
  CHECK_FALSE(map.compute("a", [](const auto&, const int*) { return std::optional<int>(); }));
  int calls = 0;
  const auto made = [&](const std::string& key) { return ++calls, static_cast<int>(key.size()); };
  CHECK(map.compute_if_absent("four", made) == 4);
  CHECK(map.compute_if_absent("four", made) == 4);
  CHECK(calls == 1);
  CHECK_FALSE(map.compute_if_absent("none", [](const auto&) { return std::optional<int>(); }));
  CHECK_FALSE(map.contains_key("none"));
  CHECK_FALSE(map.compute_if_present("none", [](const auto&, int value) { return value; }));
  CHECK(map.compute_if_present("four", [](const auto&, int value) { return value + 1; }) == 5);
  CHECK_FALSE(map.compute_if_present("four", [](const auto&, int) { return std::optional<int>(); }));
  CHECK(map.merge("m", 3, std::plus<>()) == 3);
  CHECK(map.merge("m", 3, std::plus<>()) == 6);
  CHECK_FALSE(map.merge("m", 3, [](int, int) { return std::optional<int>(); }));
  CHECK(map.size() == 0);
  map.put("t", 1);
  CHECK_THROWS_AS(map.compute("t", [](const auto&, const int*) -> int { throw std::runtime_error("no"); }),
                  std::runtime_error);
  CHECK(map.get("t") == 1);
  CHECK(map.compute("t", next) == 2);  // its stripe is free again
}

TEST_CASE("concurrent_hash_map: a change from inside a computation is an error, of another map it is not") {
  ConcurrentHashMap<int, int> map{"numbers"};
  ConcurrentHashMap<int, int> other;
  for (int inner = 0; inner < 100; ++inner) {  // in the same stripe and in others
    CHECK_THROWS_AS(map.compute_if_absent(1, [&](int) { return map.put(inner, 2), 3; }), creel::Error);
  }
  CHECK_THROWS_WITH_AS(map.compute(1, [&](int, const int*) { return map.clear(), 1; }),
                       doctest::Contains("\"numbers\""), creel::Error);
  CHECK(map.is_empty());
  CHECK(map.compute(1, [&](int, const int*) {
    return other.compute(1, [&](int, const int*) {
      CHECK_THROWS_AS(map.remove(5), creel::Error);
      return map.get_or_default(1, 40);  // reading is fine
    });
  }) == 40);
  CHECK(map.put(2, 2) == std::nullopt);
}

TEST_CASE("concurrent_hash_map: equal hashes, growth, removal and coming back") {
  ConcurrentHashMap<int, int, OneBucket> map;
  for (int i = 0; i < 300; ++i) map.put(i, i);
  for (int i = 0; i < 300; i += 2) CHECK(map.remove(i) == i);
  for (int i = 0; i < 300; ++i) CHECK(map.contains_key(i) == (i % 2 == 1));
  for (int round = 0; round < 50; ++round) {  // removed places must not fill the table
    for (int i = 1000; i < 1020; ++i) map.put(i + round * 20, i);
    for (int i = 1000; i < 1020; ++i) CHECK(map.remove(i + round * 20) == i);
  }
  CHECK(map.size() == 150);
  map.clear();
  CHECK(map.is_empty());
  ConcurrentHashMap<int, int> large{10};
  for (int i = 0; i < 50000; ++i) large.put(i, -i);
  CHECK(large.mapping_count() == 50000);
  for (int i = 0; i < 50000; ++i) {
    if (large.get(i) != -i) FAIL_CHECK("lost ", i);
  }
}

TEST_CASE("concurrent_hash_map: iteration and bulk operations see all that stays") {
  ConcurrentHashMap<int, std::string> map;
  map.put_all(std::vector<std::pair<int, std::string>>{{1, "a"}, {2, "bb"}, {3, "ccc"}});
  std::size_t letters = 0;
  map.for_each([&](int, const std::string& value) { letters += value.size(); });
  CHECK(letters == 6);
  std::set<int> keys;
  for (const auto& [key, value] : map) {
    CHECK(value.size() == static_cast<std::size_t>(key));
    keys.insert(key);
    map.remove(key);  // the loop may change the map
  }
  CHECK(keys == std::set<int>{1, 2, 3});
  CHECK(map.is_empty());
  CHECK(map.begin() == map.end());
  for (int i = 1; i <= 100; ++i) map.put(i, std::to_string(i));
  CHECK(map.contains_value("7"));
  CHECK_FALSE(map.contains_value("x"));
  static_assert(std::ranges::input_range<decltype(map)>);
}

TEST_CASE("concurrent_hash_map: remove_if and replace_all change each entry atomically") {
  ConcurrentHashMap<int, std::string> texts{"texts"};
  ConcurrentHashMap<int, long> numbers;
  for (int i = 0; i < 300; ++i) {
    texts.put(i, std::to_string(i));
    numbers.put(i, i);
  }
  CHECK(texts.remove_if(
            [](int key, const std::string& value) { return value.size() == 1 || key % 2 == 0; }) == 155);
  texts.replace_all([](int, const std::string& value) { return value + "!"; });
  CHECK(texts.get(11) == "11!");
  CHECK_FALSE(texts.contains_key(12));
  CHECK_THROWS_WITH_AS(texts.remove_if([&](int, const auto&) { return texts.put(1, "x"), true; }),
                       doctest::Contains("\"texts\""), creel::Error);
  CHECK_THROWS_AS(texts.replace_all([&](int, const auto& value) { return texts.clear(), value; }),
                  creel::Error);
  CHECK(texts.size() == 145);
  on_threads(4, [&](int t) {  // no increment is lost
    for (int round = 0; round < 50; ++round) {
      if (t == 0) {
        numbers.replace_all([](int, long value) { return value + 1000; });
      } else {
        for (int i = 0; i < 300; ++i) numbers.merge(i, 1, std::plus<>());
      }
    }
  });
  for (int i = 0; i < 300; ++i) CHECK(numbers.get(i) == i + 50 * 1000 + 3 * 50);
}

TEST_CASE("concurrent_hash_map: what is removed is freed, and all of it with the map") {
  auto value = std::make_shared<int>(1);
  {
    ConcurrentHashMap<int, std::shared_ptr<int>> map;
    map.put(1, value);
    map.put(1, std::make_shared<int>(2));
    CHECK(value.use_count() == 1);  // nobody reads: at once
    map.put(2, value);
    map.visit(2, [&](const std::shared_ptr<int>& seen) {
      map.remove(2);
      CHECK(seen.use_count() == 2);  // we look at it
    });
    for (int i = 0; i < 100; ++i) map.put(i, value);
    map.clear();
    for (int i = 0; i < 100; ++i) map.put(i, nullptr);
    CHECK(value.use_count() < 10);
    map.put(1, value);
  }
  CHECK(value.use_count() == 1);
}

TEST_CASE("concurrent_hash_map: merge and compute_if_absent are atomic, on platform and virtual threads") {
  ConcurrentHashMap<int, long> counts;
  ConcurrentHashMap<int, std::string> made;
  std::atomic<int> makings{0};
  on_threads(6, [&](int t) {
    for (int i = 0; i < 20000; ++i) {
      counts.merge(i % 97, 1, std::plus<>());
      made.compute_if_absent(i % 1000, [&](int key) { return ++makings, std::to_string(key); });
      if ((i + t) % 100 == 0) Thread::yield();
    }
  });
  CHECK(makings == 1000);
  CHECK(counts.reduce_values(1, std::plus<>()) == 6 * 20000);
}

TEST_CASE("concurrent_hash_map: several threads grow it at once, and readers do not wait for them") {
  ConcurrentHashMap<int, int> map;
  constexpr int kEach = 20000;
  std::atomic<int> lost{0};
  on_threads(6, [&](int t) {
    for (int i = 0; i < kEach; ++i) {
      const int key = i * 6 + t;
      map.put(key, -key);
      if (map.get(key) != -key || map.get(i / 2 * 6 + t) != -(i / 2 * 6 + t)) ++lost;
    }
  });
  CHECK(lost == 0);
  CHECK(map.size() == 6 * kEach);
  CHECK(map.reduce_keys(
            1, [](int) { return 1; }, 0, std::plus<>()) == 6 * kEach);
}

TEST_CASE("concurrent_hash_map: values of all sizes, in place and exchanged") {
  const auto check = [](auto first, auto second) {
    using V = decltype(first);
    ConcurrentHashMap<int, V> map;
    CHECK_FALSE(map.put(1, first));
    CHECK(map.put(1, second) == first);
    CHECK(map.get(1) == second);
    CHECK(map.replace(1, second, first));
    CHECK_FALSE(map.remove(1, second));
    CHECK(map.compute(1, [&](int, const V* before) { return *before == first ? second : first; }) == second);
    for (int i = 0; i < 2000; ++i) {  // memory of removed ones is used again
      map.put(i % 7 + 10, first);
      map.remove((i + 3) % 7 + 10);
    }
    CHECK(map.get(1) == second);
  };
  int one = 1;
  int two = 2;
  check(true, false);
  check('a', 'b');
  check(1.5, -2.5);
  check(&one, &two);
  check(Three{{1, 2, 3}}, Three{{4, 5, 6}});
  check(Large{{1, 2, 3, 4, 5}}, Large{{6, 7, 8, 9, 0}});
  check(std::string("short"), std::string("long enough to be allocated elsewhere"));
  check(std::make_shared<int>(1), std::make_shared<int>(2));
}

TEST_CASE(
    "concurrent_hash_map: readers never see a value that is not its key's while writers churn and grow") {
  ConcurrentHashMap<int, std::string> map;
  map.put(-1, "-1.");
  std::atomic<bool> end{false};
  std::atomic<bool> wrong{false};
  std::vector<Thread> readers;
  const auto check = [&](int key, const std::string& value) {
    if (value.compare(0, value.find('.'), std::to_string(key)) != 0) wrong = true;
  };
  for (int t = 0; t < 2; ++t) {
    readers.push_back(Thread::of_platform().start([&, t] {
      for (int i = t; !end; i = (i + 7) % 2000) {
        if (const auto value = map.get(i)) check(i, *value);
        if (i % 500 == 0) {
          for (const auto& [key, each] : map) check(key, each);
        }
        if (!map.contains_key(-1)) wrong = true;  // this one stays
      }
    }));
  }
  on_threads(4, [&](int t) {
    for (int i = 0; i < 10000; ++i) {
      const int key = (i * 13 + t) % 2000;
      if (i % 3 == 0) {
        map.remove(key);
      } else {
        map.put(key, std::to_string(key) + "." + std::to_string(i) + " and more than fits in a small string");
      }
      if (i % 50 == 0) map.put(-1, "-1." + std::to_string(i));
    }
  });
  end = true;
  for (const Thread& reader : readers) CHECK(reader.join(60s));
  CHECK_FALSE(wrong);
}

TEST_CASE("concurrent_hash_map: a computation that waits frees its carrier; a reader does not wait") {
  ConcurrentHashMap<int, int> map{"slow"};
  map.put(1, 0);
  creel::CountDownLatch go{1};
  std::vector<Thread> threads;
  for (int i = 0; i < 300; ++i) {
    threads.push_back(Thread::of_virtual().start(
        [&] { map.merge(1, 1, [&](int a, int b) { return go.await(), a + b; }); }));
  }
  for (const Thread& thread : threads) {
    await_state(thread, ThreadState::Waiting);  // the first in its function, the others for the stripe
  }
  CHECK(map.get(1) == 0);
  go.count_down();
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(map.get(1) == 300);
}
