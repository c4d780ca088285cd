#pragma once

#include <creel/runtime/detail/concurrent_hash_table.hpp>
#include <creel/runtime/detail/map_iterator.hpp>
#include <creel/runtime/map_bulk_operations.hpp>
#include <creel/runtime/map_views.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {

/// A hash table for many threads at once; java.util.concurrent.ConcurrentHashMap.
///
///     creel::ConcurrentHashMap<std::string, long> words;
///     words.merge(word, 1, std::plus<>());                            // any thread, atomically
///     if (std::optional<long> count = words.get("java")) …
///     for (const auto& [word, count] : words) …
///     long all = words.reduce_values(1000, std::plus<>()).value_or(0);  // in parallel from 1,000 entries on
///
/// Reading takes no lock and waits for nobody. Changes lock one of the map's stripes; a virtual thread that
/// waits for one frees its carrier, and dumps show who holds it. Stripes grow one by one, each by the thread
/// whose insertion finds it full: several grow at the same time, and reads never wait for it. The changes of
/// one key are atomic (linearizable, with its reads), the functions given to compute(), compute_if_absent(),
/// compute_if_present() and merge() included: each is called at most once, with the stripe locked, so it
/// should be short; it may read the map, but a change of the same map from inside it throws Error (Java's
/// IllegalStateException for a recursive update). If it throws, the mapping stays as it was.
///
/// Values are handed out as copies: let V be cheap to copy, a shared_ptr if it is not. Those of 1, 2, 4 or 8
/// bytes that are trivially copyable (numbers, pointers) are replaced without an allocation. What a removed
/// or replaced value held is freed once no reader can look at it, by that change or a later one of the same
/// stripe; memory of values without destructors is freed in batches.
///
/// size(), iteration, views and bulk operations are weakly consistent: they show each entry as it was at some
/// moment since they began, none twice, and never fail. Memory effects: what a thread did before it put a
/// value happens before what another does after it has got that value. No call of the map answers
/// interrupt(): those that wait do so for a stripe only.
template <typename K, typename V, typename Hash = std::hash<K>, typename Equal = std::equal_to<K>>
class ConcurrentHashMap : public MapBulkOperations<ConcurrentHashMap<K, V, Hash, Equal>, K, V> {
  using Stripe = detail::HashStripe<K, V>;
  using Reading = typename Stripe::Reading;
  using Writing = typename Stripe::Writing;
  using Found = typename Stripe::Found;

 public:
  using key_type = K;
  using mapped_type = V;
  using Entry = MapEntry<K, V>;
  using Iterator = detail::MapIterator<ConcurrentHashMap, detail::EntryOf<K, V>>;

  /// Room for `expected` entries without growing. The name stands in dumps; it may be empty.
  explicit ConcurrentHashMap(std::size_t expected = 0, std::string name = {}, Hash hash = {},
                             Equal equal = {})
      : name_(std::move(name)),
        hash_(std::move(hash)),
        equal_(std::move(equal)),
        stripes_(detail::map_stripe_count(), name_) {
    for (Stripe& stripe : stripes_) stripe.reserve((expected + stripes_.size() - 1) / stripes_.size());
  }
  explicit ConcurrentHashMap(std::string name) : ConcurrentHashMap(0, std::move(name)) {}
  ConcurrentHashMap(const ConcurrentHashMap&) = delete;
  ConcurrentHashMap& operator=(const ConcurrentHashMap&) = delete;

  // ---- one key ----

  std::optional<V> get(const K& key) const {
    std::optional<V> value;
    visit(key, [&](const V& found) { value.emplace(found); });
    return value;
  }
  V get_or_default(const K& key, V otherwise) const {
    std::optional<V> value = get(key);
    return value ? *std::move(value) : std::move(otherwise);
  }
  bool contains_key(const K& key) const {
    return visit(key, [](const V&) {});
  }
  /// Calls `body` with the value, uncopied, if there is one; returns whether there was. Nothing is freed in
  /// the whole process while it runs: keep it short.
  template <std::invocable<const V&> Body>
  bool visit(const K& key, Body&& body) const {
    const std::size_t hash = hash_of(key);
    const Reading reading;
    const Found found = stripe(hash).find(hash, key, equal_);
    if (!found) return false;
    const V& value = found.value();
    std::invoke(std::forward<Body>(body), value);
    return true;
  }

  /// Returns the value before, if there was one.
  std::optional<V> put(K key, V value) {
    std::optional<V> before;
    write(hash_of(key), key, [&](Stripe& stripe, std::size_t hash, Found found) {
      if (found) before.emplace(found.value());
      stripe.set(hash, found, std::move(key), std::move(value));
    });
    return before;
  }
  /// Puts `value` if the key has none; returns the one that it has, if so.
  std::optional<V> put_if_absent(K key, V value) {
    std::optional<V> before = get(key);
    if (before) return before;
    write(hash_of(key), key, [&](Stripe& stripe, std::size_t hash, Found found) {
      if (found) {
        before.emplace(found.value());
      } else {
        stripe.set(hash, found, std::move(key), std::move(value));
      }
    });
    return before;
  }
  /// Returns the value before, if there was one.
  std::optional<V> remove(const K& key) {
    std::optional<V> before;
    write(hash_of(key), key, [&](Stripe& stripe, std::size_t, Found found) {
      if (!found) return;
      before.emplace(found.value());
      stripe.erase(found);
    });
    return before;
  }
  /// Removes the key if its value is `value`; returns whether it did.
  bool remove(const K& key, const V& value) {
    return write(hash_of(key), key, [&](Stripe& stripe, std::size_t, Found found) {
      if (!found || !(found.value() == value)) return false;
      stripe.erase(found);
      return true;
    });
  }
  /// Puts `value` if the key has one; returns that one.
  std::optional<V> replace(const K& key, V value) {
    std::optional<V> before;
    write(hash_of(key), key, [&](Stripe& stripe, std::size_t hash, Found found) {
      if (!found) return;
      before.emplace(found.value());
      stripe.set(hash, found, key, std::move(value));
    });
    return before;
  }
  /// Puts `next` if the key's value is `expected`; returns whether it did.
  bool replace(const K& key, const V& expected, V next) {
    return write(hash_of(key), key, [&](Stripe& stripe, std::size_t hash, Found found) {
      if (!found || !(found.value() == expected)) return false;
      stripe.set(hash, found, key, std::move(next));
      return true;
    });
  }

  // The functions return a V, or a std::optional<V>: without a value the key is removed. All of these return
  // the value that the key then has.

  /// `function(key, const V* before)`; before is null if the key has none.
  template <std::invocable<const K&, const V*> Function>
  std::optional<V> compute(const K& key, Function&& function) {
    return recompute(key,
                     [&](const V* before) -> std::optional<V> { return std::invoke(function, key, before); });
  }
  /// `function(key)` if the key has no value; only then is anything locked.
  template <std::invocable<const K&> Function>
  std::optional<V> compute_if_absent(const K& key, Function&& function) {
    if (std::optional<V> present = get(key)) return present;
    return write(hash_of(key), key, [&](Stripe& stripe, std::size_t hash, Found found) -> std::optional<V> {
      if (found) return found.value();
      std::optional<V> value = computed([&]() -> std::optional<V> { return std::invoke(function, key); });
      if (value) stripe.set(hash, found, key, *value);
      return value;
    });
  }
  /// `function(key, const V& before)` if the key has a value.
  template <std::invocable<const K&, const V&> Function>
  std::optional<V> compute_if_present(const K& key, Function&& function) {
    return recompute(key, [&](const V* before) -> std::optional<V> {
      if (before == nullptr) return std::nullopt;
      return std::invoke(function, key, *before);
    });
  }
  /// `value` if the key has none, else `function(const V& before, const V& value)`.
  template <std::invocable<const V&, const V&> Function>
  std::optional<V> merge(const K& key, V value, Function&& function) {
    return recompute(key, [&](const V* before) -> std::optional<V> {
      if (before == nullptr) return std::move(value);
      return std::invoke(function, *before, std::as_const(value));
    });
  }

  // ---- all of it; in parallel: MapBulkOperations ----

  std::size_t size() const noexcept {
    std::size_t sum = 0;
    for (const Stripe& stripe : stripes_) sum += stripe.size();
    return sum;
  }
  std::int64_t mapping_count() const noexcept { return static_cast<std::int64_t>(size()); }
  bool is_empty() const noexcept { return size() == 0; }
  bool contains_value(const V& value) const {
    return this
        ->search(kSequential,
                 [&](const K&, const V& each) { return each == value ? std::optional(true) : std::nullopt; })
        .has_value();
  }
  template <std::ranges::input_range Range>
  void put_all(Range&& entries) {
    for (auto&& [key, value] : entries) put(key, value);
  }
  /// Removes what is there; not one atomic step.
  void clear() {
    remove_if([](const K&, const V&) { return true; });
  }
  /// Removes the entries for which `predicate(key, value)` is true, each atomically, and returns how many. It
  /// runs with a stripe locked, as the function of compute().
  template <std::predicate<const K&, const V&> Predicate>
  std::size_t remove_if(Predicate&& predicate) {
    std::size_t count = 0;
    change_each([&](Stripe& stripe, Found found) {
      const V& value = found.value();
      if (!std::invoke(predicate, found.node->key, value)) return;
      stripe.erase(found);
      ++count;
    });
    return count;
  }
  /// Each entry's value becomes `function(key, value)`, atomically. It runs with a stripe locked, as the
  /// function of compute().
  template <std::invocable<const K&, const V&> Function>
  void replace_all(Function&& function) {
    change_each([&](Stripe& stripe, Found found) {
      const V& value = found.value();
      V next = std::invoke(function, found.node->key, value);
      stripe.set(found.node->hash, found, found.node->key, std::move(next));
    });
  }

  // Views show the map as it is, and change it; they must not outlive it. Each is a range.

  /// The keys. With `mapped`, key_set(mapped).add(key) puts keys with that value.
  KeySetView<ConcurrentHashMap> key_set() { return {unowned(this), std::nullopt}; }
  KeySetView<const ConcurrentHashMap> key_set() const { return {unowned(this), std::nullopt}; }
  KeySetView<ConcurrentHashMap> key_set(V mapped) { return {unowned(this), std::move(mapped)}; }
  ValuesView<ConcurrentHashMap> values() { return ValuesView<ConcurrentHashMap>(*this); }
  ValuesView<const ConcurrentHashMap> values() const { return ValuesView<const ConcurrentHashMap>(*this); }
  EntrySetView<ConcurrentHashMap> entry_set() { return EntrySetView<ConcurrentHashMap>(*this); }
  EntrySetView<const ConcurrentHashMap> entry_set() const {
    return EntrySetView<const ConcurrentHashMap>(*this);
  }
  /// A concurrent set: the keys of a map of its own, which lives as long as a copy of the view.
  static KeySetView<ConcurrentHashMap> new_key_set(std::size_t expected = 0,
                                                   std::string name = {}) requires std::same_as<V, bool> {
    return {std::make_shared<ConcurrentHashMap>(expected, std::move(name)), true};
  }

  /// Iteration copies the entries of one stripe at a time: the loop may take its time and change the map.
  Iterator begin() const { return Iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  template <typename, typename, typename>
  friend class MapBulkOperations;
  template <typename, typename>
  friend class detail::MapIterator;
  static constexpr std::size_t kSequential = static_cast<std::size_t>(-1);

  std::size_t hash_of(const K& key) const {
    // std::hash of a number is the number: spread it, the stripes take the high bits and slots the low ones.
    std::uint64_t hash = hash_(key);
    hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15U;
    return static_cast<std::size_t>(hash ^ (hash >> 32));
  }
  Stripe& stripe(std::size_t hash) const noexcept { return stripes_[(hash >> 40) & (stripes_.size() - 1)]; }

  // For what walks over all of it: MapBulkOperations and MapIterator.
  std::size_t stripe_count() const noexcept { return stripes_.size(); }
  /// `visit(const K&, const V&)` returns whether to go on; so does the whole.
  template <typename Visit>
  bool visit_stripe(std::size_t index, const Visit& visit) const {
    const Reading reading;
    return stripes_[index].for_each([&](Found found) {
      const V& value = found.value();
      return visit(found.node->key, value);
    });
  }

  template <typename Change>
  auto write(std::size_t hash, const K& key, Change&& change) {
    detail::check_not_computing(this, name_);
    Stripe& changed = stripe(hash);
    const Writing writing{changed};
    return change(changed, hash, changed.find(hash, key, equal_));
  }
  template <typename Change>
  void change_each(const Change& change) {
    detail::check_not_computing(this, name_);
    for (Stripe& stripe : stripes_) {
      const Writing writing{stripe};
      const detail::MapComputation computation{this};
      stripe.for_each([&](Found found) { return change(stripe, found), true; });
    }
  }
  template <typename Function>
  auto computed(const Function& function) {
    const detail::MapComputation computation{this};
    return function();
  }
  template <typename Function>
  std::optional<V> recompute(const K& key, const Function& function) {
    return write(hash_of(key), key, [&](Stripe& stripe, std::size_t hash, Found found) {
      std::optional<V> value = computed([&] {
        if (!found) return function(nullptr);
        const V& before = found.value();
        return function(&before);
      });
      if (value) {
        stripe.set(hash, found, key, *value);
      } else if (found) {
        stripe.erase(found);
      }
      return value;
    });
  }
  // The view and its copies do not count.
  template <typename Map>
  static std::shared_ptr<Map> unowned(Map* map) noexcept {
    return {std::shared_ptr<void>(), map};
  }

  const std::string name_;
  const Hash hash_;
  const Equal equal_;
  detail::StripeArray<Stripe> stripes_;
};

}  // namespace creel

template <typename K, typename V, typename Hash, typename Equal>
inline constexpr bool std::ranges::disable_sized_range<creel::ConcurrentHashMap<K, V, Hash, Equal>> =
    true;  // weakly consistent: an algorithm that trusted size() would read past the end
