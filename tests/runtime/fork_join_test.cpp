#include <creel/runtime/error.hpp>
#include <creel/runtime/fork_join.hpp>

#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

using creel::fork_join;
using creel::ForkJoinPool;
using creel::ForkJoinWorkerThread;

namespace {

std::int64_t fib(ForkJoinWorkerThread& worker, int n) {
  if (n < 2) return n;
  const auto [a, b] = fork_join(
      worker, [n](ForkJoinWorkerThread& w) { return fib(w, n - 1); },
      [n](ForkJoinWorkerThread& w) { return fib(w, n - 2); });
  return a + b;
}

// Counts its nodes; with a seed, some of them throw. Each level owns memory, so that a branch that outlives
// its forker is seen by the address sanitizer.
struct Tree {
  std::atomic<int>* entered;
  std::atomic<int>* left;
  int throw_one_in;

  std::int64_t count(ForkJoinWorkerThread& worker, int depth, std::uint32_t seed) const {
    entered->fetch_add(1);
    struct Leave {
      std::atomic<int>* left;
      ~Leave() { left->fetch_add(1); }
    } leave{left};
    std::mt19937 random(seed);
    if (throw_one_in != 0 && random() % static_cast<unsigned>(throw_one_in) == 0) {
      throw std::runtime_error("node " + std::to_string(seed));
    }
    if (depth == 0) return 1;
    const auto left_seed = std::make_unique<std::uint32_t>(random());
    const auto right_seed = std::make_unique<std::uint32_t>(random());
    const int shorter = static_cast<int>(random() % static_cast<unsigned>(depth));
    const auto [a, b] = fork_join(
        worker, [&](ForkJoinWorkerThread& w) { return count(w, depth - 1, *left_seed); },
        [&](ForkJoinWorkerThread& w) { return count(w, shorter, *right_seed); });
    return a + b + 1;
  }
};

}  // namespace

TEST_CASE("fork_join returns what both have returned") {
  for (const std::size_t workers : {1U, 2U, 4U}) {
    ForkJoinPool pool(workers);
    CHECK(pool.invoke([](ForkJoinWorkerThread& worker) { return fib(worker, 21); }) == 10946);
  }
}

TEST_CASE("fork_join: void stands as monostate, move-only values move, references are copied") {
  ForkJoinPool pool(2);
  int side = 0;
  const std::string text = "kept";
  auto [number, nothing] = pool.invoke([&](ForkJoinWorkerThread& worker) {
    return fork_join(
        worker, [] { return std::make_unique<int>(7); }, [&] { side = 3; });
  });
  static_assert(std::is_same_v<decltype(nothing), std::monostate>);
  CHECK(*number == 7);
  CHECK(side == 3);
  const auto copies = fork_join([&]() -> const std::string& { return text; }, [] { return 1; });
  static_assert(std::is_same_v<decltype(copies), const std::pair<std::string, int>>);
  CHECK(copies.first == "kept");
}

TEST_CASE("fork_join: the second branch runs elsewhere while the first waits for it") {
  ForkJoinPool pool(2);
  std::atomic<bool> second_ran{false};
  std::uint64_t first_thread = 0;
  std::uint64_t second_thread = 0;
  pool.invoke([&](ForkJoinWorkerThread& worker) {
    fork_join(
        worker,
        [&] {
          first_thread = creel::Thread::current().id();
          while (!second_ran) creel::Thread::yield();
        },
        [&](ForkJoinWorkerThread& other) {
          CHECK(&other == ForkJoinWorkerThread::current());
          second_thread = creel::Thread::current().id();
          second_ran = true;
        });
  });
  CHECK(first_thread != second_thread);
  CHECK(pool.steal_count() >= 1);
}

TEST_CASE("fork_join: an older fork is stolen although its owner forks no more") {
  ForkJoinPool pool(2);
  std::atomic<bool> oldest_ran{false};
  pool.invoke([&](ForkJoinWorkerThread& worker) {
    fork_join(
        worker,
        [&](ForkJoinWorkerThread& w) {
          fork_join(
              w,
              [&] {
                while (!oldest_ran) creel::Thread::yield();
              },
              [] {});
        },
        [&] { oldest_ran = true; });
  });
  CHECK(oldest_ran);
}

TEST_CASE("fork_join: what the first throws is rethrown, and the second is not begun or waited for") {
  ForkJoinPool pool(1);
  bool second_ran = false;
  CHECK_THROWS_WITH(pool.invoke([&](ForkJoinWorkerThread& worker) {
    fork_join(
        worker, [] { throw std::runtime_error("first"); }, [&] { second_ran = true; });
  }),
                    "first");
  CHECK_FALSE(second_ran);

  ForkJoinPool two(2);
  std::atomic<bool> begun{false};
  std::atomic<bool> ended{false};
  CHECK_THROWS_WITH(two.invoke([&](ForkJoinWorkerThread& worker) {
    fork_join(
        worker,
        [&] {
          while (!begun) creel::Thread::yield();
          throw std::runtime_error("first");
        },
        [&] {
          begun = true;
          for (int i = 0; i < 1000; ++i) creel::Thread::yield();
          ended = true;
          throw std::runtime_error("second");
        });
  }),
                    "first");
  CHECK(ended);
}

TEST_CASE("fork_join: what the second throws is rethrown, at home and from a thief") {
  for (const bool stolen : {false, true}) {
    ForkJoinPool pool(stolen ? 2U : 1U);
    std::atomic<bool> begun{!stolen};
    CHECK_THROWS_WITH(pool.invoke([&](ForkJoinWorkerThread& worker) {
      fork_join(
          worker,
          [&] {
            while (!begun) creel::Thread::yield();
          },
          [&] {
            begun = true;
            throw std::runtime_error("second");
          });
    }),
                      "second");
  }
}

TEST_CASE("fork_join: random trees give the same on any number of workers") {
  std::atomic<int> entered{0};
  std::atomic<int> left{0};
  const Tree tree{&entered, &left, 0};
  ForkJoinPool one(1);
  ForkJoinPool four(4);
  for (std::uint32_t seed = 1; seed <= 40; ++seed) {
    const auto expected = one.invoke([&](auto& worker) { return tree.count(worker, 12, seed); });
    CHECK(four.invoke([&](auto& worker) { return tree.count(worker, 12, seed); }) == expected);
  }
  CHECK(entered == left);
}

TEST_CASE("fork_join: random trees with exceptions leave nothing behind") {
  std::atomic<int> entered{0};
  std::atomic<int> left{0};
  const Tree tree{&entered, &left, 60};
  ForkJoinPool pool(4);
  int thrown = 0;
  for (std::uint32_t seed = 1; seed <= 300; ++seed) {
    try {
      pool.invoke([&](auto& worker) { return tree.count(worker, 12, seed); });
    } catch (const std::runtime_error&) {
      ++thrown;
    }
    REQUIRE(entered == left);  // also what was stolen has ended before the exception came out
  }
  CHECK(thrown > 0);
  CHECK(pool.queued_task_count() == 0);
}

TEST_CASE("fork_join: deeper than a deque is long") {
  ForkJoinPool pool(2);
  struct Chain {
    static int down(ForkJoinWorkerThread& worker, int depth) {
      if (depth == 0) return 0;
      return fork_join(
                 worker, [depth](ForkJoinWorkerThread& w) { return down(w, depth - 1); }, [] { return 0; })
                 .first +
             1;
    }
  };
  const int depth = creel_test::kAddressSanitizer ? 9'000 : 12'000;
  CHECK(pool.invoke([&](ForkJoinWorkerThread& worker) { return Chain::down(worker, depth); }) == depth);
}

TEST_CASE("parallel_for visits every element once; parallel_reduce keeps their order") {
  std::vector<int> visits(10'000);
  creel::parallel_for(
      visits, [](int& count) { ++count; }, 16);
  CHECK(visits == std::vector<int>(10'000, 1));

  std::vector<std::string> words;
  std::string expected;
  for (int i = 0; i < 1000; ++i) {
    words.push_back(std::to_string(i));
    expected += words.back();
  }
  ForkJoinPool pool(3);
  CHECK(creel::parallel_reduce(
            words, std::string(), std::plus<>(), [](const std::string& word) { return word; }, 3, pool) ==
        expected);
  const std::vector<int> none;
  CHECK(creel::parallel_reduce(none, 5, std::plus<>(), [](int x) { return x; }) == 5);
  creel::parallel_for(none, [](int) { FAIL("there is nothing"); });
  CHECK_THROWS_AS(creel::parallel_for(visits, [](int&) { throw creel::Error("no"); }), creel::Error);
}
