#include <creel/runtime/long_adder.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;

namespace {

template <typename Body>
void on_threads(Body body) {
  std::vector<Thread> threads;
  for (int t = 0; t < 6; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&body, t] { body(t); }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
}

}  // namespace

TEST_CASE("long_adder: no addition is lost under contention") {
  creel::LongAdder adder;
  on_threads([&](int t) {
    for (int i = 0; i < 50000; ++i) {
      adder.increment();
      if (i % 2 == 0) adder.add(t);
      if (i % 5 == 0) adder.decrement();
    }
  });
  CHECK(adder.sum() == 6 * 40000 + 25000 * (0 + 1 + 2 + 3 + 4 + 5));
  CHECK(adder.to_string() == std::to_string(adder.sum()));
  CHECK(adder.sum_then_reset() == 615000);
  CHECK(adder.sum() == 0);
  adder.add(std::numeric_limits<std::int64_t>::max());
  adder.increment();  // wraps around, as Java's long
  CHECK(adder.sum() == std::numeric_limits<std::int64_t>::min());
  adder.reset();
  CHECK(adder.sum() == 0);
}

TEST_CASE("long_adder: sum_then_reset meanwhile loses nothing") {
  creel::LongAdder adder;
  std::int64_t taken = 0;
  on_threads([&](int t) {
    for (int i = 0; i < 20000; ++i) {
      if (t == 0) {
        taken += adder.sum_then_reset();
      } else {
        adder.increment();
      }
    }
  });
  CHECK(taken + adder.sum() == 5 * 20000);
}

TEST_CASE("long_adder: doubles add up") {
  creel::DoubleAdder adder;
  on_threads([&](int) {
    for (int i = 0; i < 20000; ++i) adder.add(0.5);
  });
  CHECK(adder.sum() == 60000.0);
  CHECK(adder.sum_then_reset() == 60000.0);
  CHECK(adder.sum() == 0.0);
}

TEST_CASE("long_adder: accumulators combine by their function, from their identity") {
  const auto most = [](std::int64_t a, std::int64_t b) { return std::max(a, b); };
  creel::LongAccumulator<> longest{most, std::numeric_limits<std::int64_t>::min()};
  on_threads([&](int t) {
    for (int i = 0; i < 20000; ++i) longest.accumulate(i * 6 + t);
  });
  CHECK(longest.get() == 19999 * 6 + 5);
  CHECK(longest.get_then_reset() == 19999 * 6 + 5);
  CHECK(longest.get() == std::numeric_limits<std::int64_t>::min());
  longest.accumulate(3);
  longest.reset();
  CHECK(longest.get() == std::numeric_limits<std::int64_t>::min());
  creel::DoubleAccumulator<> least{[](double a, double b) { return std::min(a, b); }, 1e9};
  on_threads([&](int t) { least.accumulate(t - 2.5); });
  CHECK(least.get() == -2.5);
  creel::LongAccumulator<decltype(most)> direct{most, 0};
  direct.accumulate(4);
  CHECK(direct.to_string() == "4");
}
