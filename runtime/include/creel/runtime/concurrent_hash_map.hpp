#pragma once

#include <creel/runtime/detail/concurrent_hash_table.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

namespace creel {

/// A hash table for many threads at once; java.util.concurrent.ConcurrentHashMap.
///
///     creel::ConcurrentHashMap<std::string, long> words;
///     words.merge(word, 1, std::plus<>());                            // any thread, atomically
///     if (std::optional<long> count = words.get("java")) …
///     for (const auto& [word, count] : words) …
///
/// Reading takes no lock and waits for nobody. Changes lock one of the map's stripes; a virtual thread that
/// waits for one frees its carrier, and dumps show who holds it. The changes of one key are atomic, the
/// functions given to compute(), compute_if_absent(), compute_if_present() and merge() included: each is
/// called at most once, with the stripe locked, so it should be short; it may read the map, but a change of
/// the same map from inside it throws Error. If it throws, the mapping stays as it was.
///
/// Values are handed out as copies and are never changed in place: let V be cheap to copy, a shared_ptr if it
/// is not. What a removed or replaced value held is freed once no reader can look at it, by that change or a
/// later one of the same stripe.
///
/// size(), iteration and the bulk operations are weakly consistent: they show each entry as it was at some
/// moment since they began, and never fail. Memory effects: what a thread did before it put a value happens
/// before what another does after it has got that value.
template <typename K, typename V, typename Hash = std::hash<K>, typename Equal = std::equal_to<K>>
class ConcurrentHashMap {
  using Stripe = detail::HashStripe<K, V>;
  using Node = typename Stripe::Node;
  using Writing = typename Stripe::Writing;
  using Found = typename Stripe::Found;

 public:
  using key_type = K;
  using mapped_type = V;
  struct Entry {
    K key;
    V value;
  };
  class Iterator;

  /// Room for `expected` entries without growing. The name stands in dumps; it may be empty.
  explicit ConcurrentHashMap(std::size_t expected = 0, std::string name = {}, Hash hash = {},
                             Equal equal = {})
      : name_(std::move(name)), hash_(std::move(hash)), equal_(std::move(equal)) {
    const std::size_t count = detail::map_stripe_count();
    stripes_.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      stripes_.push_back(std::make_unique<Stripe>(name_));
      stripes_.back()->reserve((expected + count - 1) / count);
    }
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
    const detail::ReadGuard guard;
    const Found found = stripe(hash).find(hash, key, equal_);
    if (found) std::invoke(std::forward<Body>(body), std::as_const(found.node->value));
    return static_cast<bool>(found);
  }

  /// Returns the value before, if there was one.
  std::optional<V> put(K key, V value) {
    std::optional<V> before;
    const std::size_t hash = hash_of(key);
    auto node = std::make_unique<Node>(std::move(key), std::move(value));
    write(hash, node->key, [&](Stripe& stripe, Found found) {
      if (found) before.emplace(found.node->value);
      store(stripe, hash, found, std::move(node));
    });
    return before;
  }
  /// Puts `value` if the key has none; returns the one that it has, if so.
  std::optional<V> put_if_absent(K key, V value) {
    if (std::optional<V> present = get(key)) return present;
    std::optional<V> before;
    const std::size_t hash = hash_of(key);
    auto node = std::make_unique<Node>(std::move(key), std::move(value));
    write(hash, node->key, [&](Stripe& stripe, Found found) {
      if (found) {
        before.emplace(found.node->value);
      } else {
        stripe.insert(hash, std::move(node));
      }
    });
    return before;
  }
  /// Returns the value before, if there was one.
  std::optional<V> remove(const K& key) {
    std::optional<V> before;
    write(hash_of(key), key, [&](Stripe& stripe, Found found) {
      if (!found) return;
      before.emplace(found.node->value);
      stripe.erase(found);
    });
    return before;
  }
  /// Removes the key if its value is `value`; returns whether it did.
  bool remove(const K& key, const V& value) {
    return write(hash_of(key), key, [&](Stripe& stripe, Found found) {
      if (!found || !(found.node->value == value)) return false;
      stripe.erase(found);
      return true;
    });
  }
  /// Puts `value` if the key has one; returns that one.
  std::optional<V> replace(const K& key, V value) {
    std::optional<V> before;
    auto node = std::make_unique<Node>(key, std::move(value));
    write(hash_of(key), key, [&](Stripe& stripe, Found found) {
      if (!found) return;
      before.emplace(found.node->value);
      stripe.replace(found, std::move(node));
    });
    return before;
  }
  /// Puts `next` if the key's value is `expected`; returns whether it did.
  bool replace(const K& key, const V& expected, V next) {
    auto node = std::make_unique<Node>(key, std::move(next));
    return write(hash_of(key), key, [&](Stripe& stripe, Found found) {
      if (!found || !(found.node->value == expected)) return false;
      stripe.replace(found, std::move(node));
      return true;
    });
  }

  // The functions return a V, or a std::optional<V>: without a value the key is removed. All of these return
  // the value that the key then has.

  /// `function(key, const V* before)`; before is null if the key has none.
  template <std::invocable<const K&, const V*> Function>
  std::optional<V> compute(const K& key, Function&& function) {
    return recompute(key, [&](Found found) -> std::optional<V> {
      return std::invoke(function, key, found ? &found.node->value : nullptr);
    });
  }
  /// `function(key)` if the key has no value; only then is anything locked.
  template <std::invocable<const K&> Function>
  std::optional<V> compute_if_absent(const K& key, Function&& function) {
    if (std::optional<V> present = get(key)) return present;
    return recompute(
        key,
        [&](Found found) -> std::optional<V> {
          if (found) return found.node->value;
          return std::invoke(function, key);
        },
        Keep::Present);
  }
  /// `function(key, const V& before)` if the key has a value.
  template <std::invocable<const K&, const V&> Function>
  std::optional<V> compute_if_present(const K& key, Function&& function) {
    return recompute(key, [&](Found found) -> std::optional<V> {
      if (!found) return std::nullopt;
      return std::invoke(function, key, std::as_const(found.node->value));
    });
  }
  /// `value` if the key has none, else `function(const V& before, const V& value)`.
  template <std::invocable<const V&, const V&> Function>
  std::optional<V> merge(const K& key, V value, Function&& function) {
    return recompute(key, [&](Found found) -> std::optional<V> {
      if (!found) return std::move(value);
      return std::invoke(function, std::as_const(found.node->value), std::as_const(value));
    });
  }

  // ---- all of it ----

  std::size_t size() const noexcept {
    std::size_t sum = 0;
    for (const auto& stripe : stripes_) sum += stripe->size();
    return sum;
  }
  std::int64_t mapping_count() const noexcept { return static_cast<std::int64_t>(size()); }
  bool is_empty() const noexcept { return size() == 0; }
  /// Removes what is there; not one atomic step.
  void clear() {
    detail::check_not_computing(this, name_);
    for (const auto& stripe : stripes_) {
      const Writing writing{*stripe};
      stripe->clear();
    }
  }
  template <std::ranges::input_range Range>
  void put_all(Range&& entries) {
    for (auto&& [key, value] : entries) put(key, value);
  }

  /// Calls `body(const K&, const V&)` for all entries, in no order, on the calling thread. Nothing is freed
  /// in the whole process while it runs.
  template <std::invocable<const K&, const V&> Body>
  void for_each(Body&& body) const {
    search([&](const K& key, const V& value) {
      std::invoke(body, key, value);
      return std::optional<bool>();
    });
  }
  /// The first value that `function(key, value)`, which returns an optional, finds; none if it finds none.
  template <std::invocable<const K&, const V&> Function>
  std::invoke_result_t<Function&, const K&, const V&> search(Function&& function) const {
    std::invoke_result_t<Function&, const K&, const V&> found;
    for (const auto& stripe : stripes_) {
      const detail::ReadGuard guard;
      const bool go_on = stripe->for_each([&](const Node& node) {
        found = std::invoke(function, node.key, node.value);
        return !found;
      });
      if (!go_on) break;
    }
    return found;
  }
  /// What `transform(key, value)` gives for all entries, combined by `combine`, which is associative and
  /// commutative; none if there are no entries.
  template <std::invocable<const K&, const V&> Transform, typename Combine>
  auto reduce(Transform&& transform, Combine&& combine) const {
    std::optional<std::decay_t<std::invoke_result_t<Transform&, const K&, const V&>>> sum;
    for_each([&](const K& key, const V& value) {
      auto part = std::invoke(transform, key, value);
      if (sum) {
        sum.emplace(std::invoke(combine, *std::move(sum), std::move(part)));
      } else {
        sum.emplace(std::move(part));
      }
    });
    return sum;
  }
  bool contains_value(const V& value) const {
    return search([&](const K&, const V& each) { return each == value ? std::optional(true) : std::nullopt; })
        .has_value();
  }
  std::vector<K> keys() const {
    std::vector<K> all;
    for_each([&](const K& key, const V&) { all.push_back(key); });
    return all;
  }
  std::vector<V> values() const {
    std::vector<V> all;
    for_each([&](const K&, const V& value) { all.push_back(value); });
    return all;
  }
  /// As keys(), with the values.
  std::vector<Entry> entries() const {
    std::vector<Entry> all;
    for_each([&](const K& key, const V& value) { all.push_back({key, value}); });
    return all;
  }

  /// Iteration copies the entries of one stripe at a time: the loop may take its time and change the map.
  Iterator begin() const { return Iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  enum class Keep : bool { Nothing, Present };  // Present: a value that is there stays

  std::size_t hash_of(const K& key) const {
    // std::hash of a number is the number: spread it, the stripes take the high bits and slots the low ones.
    std::uint64_t hash = hash_(key);
    hash = (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15U;
    return static_cast<std::size_t>(hash ^ (hash >> 32));
  }
  Stripe& stripe(std::size_t hash) const noexcept { return *stripes_[(hash >> 40) & (stripes_.size() - 1)]; }

  template <typename Change>
  auto write(std::size_t hash, const K& key, Change&& change) {
    detail::check_not_computing(this, name_);
    Stripe& changed = stripe(hash);
    const Writing writing{changed};
    return change(changed, changed.find(hash, key, equal_));
  }
  static void store(Stripe& stripe, std::size_t hash, Found found, std::unique_ptr<Node> node) {
    if (found) {
      stripe.replace(found, std::move(node));
    } else {
      stripe.insert(hash, std::move(node));
    }
  }
  template <typename Function>
  std::optional<V> recompute(const K& key, Function&& function, Keep keep = Keep::Nothing) {
    const std::size_t hash = hash_of(key);
    return write(hash, key, [&](Stripe& stripe, Found found) {
      std::optional<V> value;
      {
        const detail::MapComputation computation{this};
        value = function(found);
      }
      if (found && keep == Keep::Present) return value;
      if (value) {
        store(stripe, hash, found, std::make_unique<Node>(key, *value));
      } else if (found) {
        stripe.erase(found);
      }
      return value;
    });
  }

  const std::string name_;
  const Hash hash_;
  const Equal equal_;
  std::vector<std::unique_ptr<Stripe>> stripes_;  // as many as a power of two
};

/// An input iterator over copies of the entries.
template <typename K, typename V, typename Hash, typename Equal>
class ConcurrentHashMap<K, V, Hash, Equal>::Iterator {
 public:
  using value_type = Entry;
  using difference_type = std::ptrdiff_t;

  Iterator() noexcept = default;
  const Entry& operator*() const noexcept { return (*batch_)[at_]; }
  const Entry* operator->() const noexcept { return &**this; }
  Iterator& operator++() {
    ++at_;
    load();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const Iterator& at, std::default_sentinel_t) noexcept {
    return at.at_ == at.batch_->size();
  }

 private:
  friend class ConcurrentHashMap;
  explicit Iterator(const ConcurrentHashMap* map) : map_(map) { load(); }

  void load() {
    while (at_ == batch_->size() && stripe_ < map_->stripes_.size()) {
      batch_ = std::make_shared<std::vector<Entry>>();  // a copy of the iterator keeps the one before
      at_ = 0;
      const detail::ReadGuard guard;
      map_->stripes_[stripe_++]->for_each([this](const Node& node) {
        batch_->push_back({node.key, node.value});
        return true;
      });
    }
  }

  const ConcurrentHashMap* map_ = nullptr;
  std::size_t stripe_ = 0;  // the next to read
  std::size_t at_ = 0;
  std::shared_ptr<std::vector<Entry>> batch_ = std::make_shared<std::vector<Entry>>();
};

}  // namespace creel
