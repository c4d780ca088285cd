#pragma once

#include <creel/runtime/detail/concurrent_hash_table.hpp>
#include <creel/runtime/detail/map_iterator.hpp>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {

/// What ConcurrentHashMap does with all of its entries, in parallel where that pays: Java's bulk operations.
///
///     long letters = words.reduce_keys(1000, [](const std::string& word) { return word.size(); }, 0L,
///     std::plus<>()); std::optional<std::string> rare = words.search(1, [](const std::string& word, long
///     count) {
///       return count == 1 ? std::optional(word) : std::nullopt;
///     });
///
/// `threshold` is the number of entries from which on the workers of ForkJoinPool::common() share the work
/// (1: always; a number larger than the map: the calling thread alone). Each call waits for its end;
/// interrupt() does not end it. The functions run at the same time on several threads, in no order, on
/// entries as they were at some moment since the call began; they may change the map. Nothing that maps hold
/// is freed in the whole process while one runs: keep them short. An exception ends the operation and is
/// rethrown; some entries may then be left out.
///
/// A transform may return an optional: without a value the entry is passed over (Java's null). The functions
/// that combine must be associative and commutative. What has a `basis` (Java's reduceToLong and its like)
/// combines it with the rest and returns it alone if there is nothing; without one the result is an optional.
///
/// Memory effects: what the functions did happens before the call returns.
template <typename Map, typename K, typename V>
class MapBulkOperations {
 public:
  /// `body(key, value)`, on the calling thread alone.
  template <std::invocable<const K&, const V&> Body>
  void for_each(Body&& body) const {
    visit_all(kNever, [&](const K& key, const V& value) { std::invoke(body, key, value); });
  }
  template <std::invocable<const K&, const V&> Body>
  void for_each(std::size_t threshold, Body&& body) const {
    visit_all(threshold, [&](const K& key, const V& value) { std::invoke(body, key, value); });
  }
  /// `body(transform(key, value))`.
  template <std::invocable<const K&, const V&> Transform, typename Body>
  void for_each(std::size_t threshold, Transform&& transform, Body&& body) const {
    visit_all(threshold,
              [&](const K& key, const V& value) { pass(std::invoke(transform, key, value), body); });
  }
  template <std::invocable<const K&> Body>
  void for_each_key(std::size_t threshold, Body&& body) const {
    visit_all(threshold, [&](const K& key, const V&) { std::invoke(body, key); });
  }
  template <std::invocable<const K&> Transform, typename Body>
  void for_each_key(std::size_t threshold, Transform&& transform, Body&& body) const {
    visit_all(threshold, [&](const K& key, const V&) { pass(std::invoke(transform, key), body); });
  }
  template <std::invocable<const V&> Body>
  void for_each_value(std::size_t threshold, Body&& body) const {
    visit_all(threshold, [&](const K&, const V& value) { std::invoke(body, value); });
  }
  template <std::invocable<const V&> Transform, typename Body>
  void for_each_value(std::size_t threshold, Transform&& transform, Body&& body) const {
    visit_all(threshold, [&](const K&, const V& value) { pass(std::invoke(transform, value), body); });
  }
  template <std::invocable<const MapEntry<K, V>&> Body>
  void for_each_entry(std::size_t threshold, Body&& body) const {
    visit_all(threshold, [&](const K& key, const V& value) { std::invoke(body, entry(key, value)); });
  }
  template <std::invocable<const MapEntry<K, V>&> Transform, typename Body>
  void for_each_entry(std::size_t threshold, Transform&& transform, Body&& body) const {
    visit_all(threshold,
              [&](const K& key, const V& value) { pass(std::invoke(transform, entry(key, value)), body); });
  }

  /// What `function(key, value)`, which returns an optional, finds first; the others then stop.
  template <std::invocable<const K&, const V&> Function>
  auto search(std::size_t threshold, Function&& function) const {
    return find<std::invoke_result_t<Function&, const K&, const V&>>(threshold, function);
  }
  template <std::invocable<const K&> Function>
  auto search_keys(std::size_t threshold, Function&& function) const {
    return find<std::invoke_result_t<Function&, const K&>>(
        threshold, [&](const K& key, const V&) { return std::invoke(function, key); });
  }
  template <std::invocable<const V&> Function>
  auto search_values(std::size_t threshold, Function&& function) const {
    return find<std::invoke_result_t<Function&, const V&>>(
        threshold, [&](const K&, const V& value) { return std::invoke(function, value); });
  }
  template <std::invocable<const MapEntry<K, V>&> Function>
  auto search_entries(std::size_t threshold, Function&& function) const {
    return find<std::invoke_result_t<Function&, const MapEntry<K, V>&>>(
        threshold, [&](const K& key, const V& value) { return std::invoke(function, entry(key, value)); });
  }

  /// What `transform(key, value)` gives for all entries, combined.
  template <std::invocable<const K&, const V&> Transform, typename Combine>
  auto reduce(std::size_t threshold, Transform&& transform, Combine&& combine) const {
    using Value = Transformed<Transform, const K&, const V&>;
    return fold<Value>(threshold, combine, [&](const K& key, const V& value, const auto& add) {
      pass(std::invoke(transform, key, value), add);
    });
  }
  template <std::invocable<const K&, const V&> Transform, typename Value, typename Combine>
  Value reduce(std::size_t threshold, Transform&& transform, Value basis, Combine&& combine) const {
    return with(std::move(basis), combine, [&] { return reduce(threshold, transform, combine); });
  }
  template <std::invocable<const K&, const K&> Combine>
  std::optional<K> reduce_keys(std::size_t threshold, Combine&& combine) const {
    return fold<K>(threshold, combine, [&](const K& key, const V&, const auto& add) { add(key); });
  }
  template <std::invocable<const K&> Transform, typename Combine>
  auto reduce_keys(std::size_t threshold, Transform&& transform, Combine&& combine) const {
    return fold<Transformed<Transform, const K&>>(
        threshold, combine,
        [&](const K& key, const V&, const auto& add) { pass(std::invoke(transform, key), add); });
  }
  template <std::invocable<const K&> Transform, typename Value, typename Combine>
  Value reduce_keys(std::size_t threshold, Transform&& transform, Value basis, Combine&& combine) const {
    return with(std::move(basis), combine, [&] { return reduce_keys(threshold, transform, combine); });
  }
  template <std::invocable<const V&, const V&> Combine>
  std::optional<V> reduce_values(std::size_t threshold, Combine&& combine) const {
    return fold<V>(threshold, combine, [&](const K&, const V& value, const auto& add) { add(value); });
  }
  template <std::invocable<const V&> Transform, typename Combine>
  auto reduce_values(std::size_t threshold, Transform&& transform, Combine&& combine) const {
    return fold<Transformed<Transform, const V&>>(
        threshold, combine,
        [&](const K&, const V& value, const auto& add) { pass(std::invoke(transform, value), add); });
  }
  template <std::invocable<const V&> Transform, typename Value, typename Combine>
  Value reduce_values(std::size_t threshold, Transform&& transform, Value basis, Combine&& combine) const {
    return with(std::move(basis), combine, [&] { return reduce_values(threshold, transform, combine); });
  }
  template <std::invocable<const MapEntry<K, V>&, const MapEntry<K, V>&> Combine>
  std::optional<MapEntry<K, V>> reduce_entries(std::size_t threshold, Combine&& combine) const {
    return fold<MapEntry<K, V>>(
        threshold, combine, [&](const K& key, const V& value, const auto& add) { add(entry(key, value)); });
  }
  template <std::invocable<const MapEntry<K, V>&> Transform, typename Combine>
  auto reduce_entries(std::size_t threshold, Transform&& transform, Combine&& combine) const {
    return fold<Transformed<Transform, const MapEntry<K, V>&>>(
        threshold, combine, [&](const K& key, const V& value, const auto& add) {
          pass(std::invoke(transform, entry(key, value)), add);
        });
  }
  template <std::invocable<const MapEntry<K, V>&> Transform, typename Value, typename Combine>
  Value reduce_entries(std::size_t threshold, Transform&& transform, Value basis, Combine&& combine) const {
    return with(std::move(basis), combine, [&] { return reduce_entries(threshold, transform, combine); });
  }

 protected:
  MapBulkOperations() = default;
  ~MapBulkOperations() = default;

 private:
  static constexpr std::size_t kNever = static_cast<std::size_t>(-1);

  template <typename T>
  struct Unwrapped {
    using Type = T;
    static constexpr bool kOptional = false;
  };
  template <typename T>
  struct Unwrapped<std::optional<T>> {
    using Type = T;
    static constexpr bool kOptional = true;
  };
  template <typename Transform, typename... Arguments>
  using Transformed = typename Unwrapped<std::decay_t<std::invoke_result_t<Transform&, Arguments...>>>::Type;

  static MapEntry<K, V> entry(const K& key, const V& value) { return {key, value}; }
  // Gives on what a transform returned, if it returned something.
  template <typename Value, typename Body>
  static void pass(Value&& value, Body&& body) {
    if constexpr (Unwrapped<std::decay_t<Value>>::kOptional) {
      if (value) std::invoke(body, *std::forward<Value>(value));
    } else {
      std::invoke(body, std::forward<Value>(value));
    }
  }
  template <typename Value, typename Combine, typename Rest>
  static Value with(Value basis, Combine& combine, const Rest& rest) {
    if (auto sum = rest()) return std::invoke(combine, std::move(basis), *std::move(sum));
    return basis;
  }
  template <typename Value, typename Each, typename Combine>
  static void add_to(std::optional<Value>& sum, Each&& each, Combine& combine) {
    if (sum) {
      sum.emplace(std::invoke(combine, *std::move(sum), std::forward<Each>(each)));
    } else {
      sum.emplace(std::forward<Each>(each));
    }
  }

  template <typename Body>
  void on_stripes(std::size_t threshold, const Body& body) const {
    const Map& map = static_cast<const Map&>(*this);
    const bool parallel = threshold != kNever && map.size() >= std::max<std::size_t>(threshold, 2);
    detail::for_each_stripe(map.stripe_count(), parallel, [&](std::size_t stripe) { body(map, stripe); });
  }
  template <typename Visit>
  void visit_all(std::size_t threshold, const Visit& visit) const {
    on_stripes(threshold, [&](const Map& map, std::size_t stripe) {
      map.visit_stripe(stripe, [&](const K& key, const V& value) { return visit(key, value), true; });
    });
  }
  template <typename Result, typename Function>
  Result find(std::size_t threshold, const Function& function) const {
    Result result;
    std::atomic<bool> is_found{false};
    on_stripes(threshold, [&](const Map& map, std::size_t stripe) {
      if (is_found.load(std::memory_order_relaxed)) return;
      map.visit_stripe(stripe, [&](const K& key, const V& value) {
        if (is_found.load(std::memory_order_relaxed)) return false;
        Result found = function(key, value);
        // Only one wins; the end of the parallel work orders its write before our return.
        if (found && !is_found.exchange(true, std::memory_order_relaxed)) result = std::move(found);
        return !is_found.load(std::memory_order_relaxed);
      });
    });
    return result;
  }
  template <typename Value, typename Combine, typename Take>
  std::optional<Value> fold(std::size_t threshold, Combine& combine, const Take& take) const {
    std::vector<std::optional<Value>> sums(static_cast<const Map&>(*this).stripe_count());
    on_stripes(threshold, [&](const Map& map, std::size_t stripe) {
      std::optional<Value> sum;
      map.visit_stripe(stripe, [&](const K& key, const V& value) {
        take(key, value, [&](auto&& each) { add_to(sum, std::forward<decltype(each)>(each), combine); });
        return true;
      });
      sums[stripe] = std::move(sum);
    });
    std::optional<Value> all;
    for (std::optional<Value>& sum : sums) {
      if (sum) add_to(all, *std::move(sum), combine);
    }
    return all;
  }
};

}  // namespace creel
