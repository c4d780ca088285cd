#pragma once

#include <creel/runtime/detail/striped.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace creel {

/// A sum that many threads add to and few read; java.util.concurrent.atomic.LongAdder. Under contention every
/// processor adds to a cache line of its own; without, it is one atomic.
///
///     creel::LongAdder requests;
///     requests.increment();                              // any thread
///     report(requests.sum());
///
/// sum() is no snapshot: what is added while it reads may be missing. Overflow wraps around. Memory effects:
/// none; adding and reading order nothing.
class LongAdder {
 public:
  void add(std::int64_t amount) { parts_.add(amount); }
  void increment() { add(1); }
  void decrement() { add(-1); }
  std::int64_t sum() const { return parts_.fold(detail::Striped<std::int64_t>::wrapping_sum); }
  /// To 0. What is added meanwhile may be lost; use it when nobody adds.
  void reset() { sum_then_reset(); }
  /// The sum, and to 0: what is added meanwhile is in this sum or in the next.
  std::int64_t sum_then_reset() { return parts_.fold_and_reset(detail::Striped<std::int64_t>::wrapping_sum); }
  std::string to_string() const { return std::to_string(sum()); }

 private:
  detail::Striped<std::int64_t> parts_{0};
};

/// LongAdder for double: java.util.concurrent.atomic.DoubleAdder. The order of the additions, and with it the
/// rounding, is not defined.
class DoubleAdder {
 public:
  void add(double amount) {
    parts_.apply([amount](double value) { return value + amount; });
  }
  double sum() const { return parts_.fold(std::plus<>()); }
  /// To 0. What is added meanwhile may be lost; use it when nobody adds.
  void reset() { sum_then_reset(); }
  /// The sum, and to 0: what is added meanwhile is in this sum or in the next.
  double sum_then_reset() { return parts_.fold_and_reset(std::plus<>()); }
  std::string to_string() const { return std::to_string(sum()); }

 private:
  detail::Striped<double> parts_{0.0};
};

/// Combines values of many threads by a function of two values that is associative, commutative and without
/// effects (it may be called again for one result); java.util.concurrent.atomic.LongAccumulator and
/// DoubleAccumulator. `identity` is where it starts.
///
///     creel::LongAccumulator<> longest{[](std::int64_t a, std::int64_t b) { return std::max(a, b); }, 0};
///     longest.accumulate(line.size());                   // any thread
///     report(longest.get());
///
/// get() is no snapshot. Memory effects: none.
template <typename Value, typename Function>
class Accumulator {
 public:
  Accumulator(Function function, Value identity) : function_(std::move(function)), parts_(identity) {}

  void accumulate(Value value) {
    parts_.apply([&](Value seen) { return function_(seen, value); });
  }
  Value get() const { return parts_.fold(std::cref(function_)); }
  /// To the identity. What is accumulated meanwhile may be lost; use it when nobody does.
  void reset() { get_then_reset(); }
  /// The value, and to the identity: what is accumulated meanwhile is in this value or in the next.
  Value get_then_reset() { return parts_.fold_and_reset(std::cref(function_)); }
  std::string to_string() const { return std::to_string(get()); }

 private:
  const Function function_;
  detail::Striped<Value> parts_;
};

template <typename Function = std::function<std::int64_t(std::int64_t, std::int64_t)>>
using LongAccumulator = Accumulator<std::int64_t, Function>;
template <typename Function = std::function<double(double, double)>>
using DoubleAccumulator = Accumulator<double, Function>;

}  // namespace creel
