#pragma once

#include <cstddef>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

namespace creel {

/// A key and its value as they were at one moment: Java's Map.Entry.
template <typename K, typename V>
struct MapEntry {
  K key;
  V value;
  friend bool operator==(const MapEntry&, const MapEntry&) = default;
};

namespace detail {

// What of an entry an iterator shows.
template <typename K, typename V>
struct KeyOf {
  using Item = K;
  K operator()(const K& key, const V&) const { return key; }
};
template <typename K, typename V>
struct ValueOf {
  using Item = V;
  V operator()(const K&, const V& value) const { return value; }
};
template <typename K, typename V>
struct EntryOf {
  using Item = MapEntry<K, V>;
  Item operator()(const K& key, const V& value) const { return {key, value}; }
};

/// An input iterator over copies of what `Project` takes of the entries of a ConcurrentHashMap. It copies one
/// stripe at a time.
template <typename Map, typename Project>
class MapIterator {
 public:
  using value_type = typename Project::Item;
  using difference_type = std::ptrdiff_t;

  MapIterator() noexcept = default;
  explicit MapIterator(const Map* map) : map_(map) { load(); }

  const value_type& operator*() const noexcept { return (*batch_)[at_].item; }
  const value_type* operator->() const noexcept { return &**this; }
  MapIterator& operator++() {
    ++at_;
    load();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const MapIterator& at, std::default_sentinel_t) noexcept { return at.is_at_end(); }

 private:
  struct Cell {
    value_type item;  // in a struct: a vector of bool has no elements to refer to
  };

  bool is_at_end() const noexcept { return batch_ == nullptr || at_ == batch_->size(); }
  void load() {
    while (is_at_end() && stripe_ < map_->stripe_count()) {
      if (batch_.use_count() == 1) {
        batch_->clear();
      } else {
        batch_ = std::make_shared<std::vector<Cell>>();  // a copy of the iterator keeps the one before
      }
      at_ = 0;
      map_->visit_stripe(stripe_++, [this](const auto& key, const auto& value) {
        batch_->push_back({Project()(key, value)});
        return true;
      });
    }
  }

  const Map* map_ = nullptr;
  std::size_t stripe_ = 0;  // the next to read
  std::size_t at_ = 0;
  std::shared_ptr<std::vector<Cell>> batch_;
};

}  // namespace detail
}  // namespace creel
