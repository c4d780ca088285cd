#pragma once

#include <creel/runtime/detail/map_iterator.hpp>
#include <creel/runtime/error.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {

namespace detail {

/// What the views of a ConcurrentHashMap have in common. A view is small and copied like a pointer.
template <typename View, typename Map, typename Project>
class MapView : public std::ranges::view_base {
 public:
  using value_type = typename Project::Item;
  using Iterator = MapIterator<std::remove_const_t<Map>, Project>;

  std::size_t size() const noexcept { return map().size(); }
  bool is_empty() const noexcept { return map().is_empty(); }
  /// Copies of a stripe's elements at a time: the loop may take its time and change the map.
  Iterator begin() const { return Iterator(&map()); }
  std::default_sentinel_t end() const noexcept { return {}; }
  /// Copies of all elements: Java's toArray().
  std::vector<value_type> snapshot() const {
    std::vector<value_type> all;
    all.reserve(size());
    for (const value_type& each : *this) all.push_back(each);
    return all;
  }
  /// Removes the entries of the map that the view shows: all.
  void clear() const requires(!std::is_const_v<Map>) { map().clear(); }

 private:
  Map& map() const noexcept { return static_cast<const View&>(*this).map(); }
};

}  // namespace detail

/// The keys of a ConcurrentHashMap, as a set; Java's KeySetView. Changes of the set are changes of the map.
///
///     auto seen = creel::ConcurrentHashMap<std::string, bool>::new_key_set();
///     if (seen.add(url)) visit(url);  // one thread only
///
/// Thread-safe and weakly consistent as the map is. One that new_key_set() made holds its map; any other must
/// not outlive it.
template <typename Map>
class KeySetView : public detail::MapView<KeySetView<Map>, Map,
                                          detail::KeyOf<typename Map::key_type, typename Map::mapped_type>> {
 public:
  using key_type = typename Map::key_type;
  using mapped_type = typename Map::mapped_type;

  KeySetView(std::shared_ptr<Map> map, std::optional<mapped_type> mapped)
      : map_(std::move(map)), mapped_(std::move(mapped)) {}

  bool contains(const key_type& key) const { return map_->contains_key(key); }
  /// Puts the key with the mapped value if it is not there; returns whether it did. Throws Error if the view
  /// was made without one.
  bool add(key_type key) const requires(!std::is_const_v<Map>) {
    if (!mapped_) throw Error("creel::KeySetView: add() needs the value to put; use key_set(value)");
    return !map_->put_if_absent(std::move(key), *mapped_);
  }
  /// Returns whether a key was added.
  template <std::ranges::input_range Range>
  requires(!std::is_const_v<Map>) bool add_all(Range&& keys) const {
    bool added = false;
    for (auto&& key : keys) added = add(std::forward<decltype(key)>(key)) || added;
    return added;
  }
  /// Returns whether it was there.
  bool remove(const key_type& key) const requires(!std::is_const_v<Map>) {
    return map_->remove(key).has_value();
  }
  /// Removes the keys for which `predicate` is true, and returns how many; see the map's remove_if().
  template <std::predicate<const key_type&> Predicate>
  requires(!std::is_const_v<Map>) std::size_t remove_if(Predicate&& predicate)
  const {
    return map_->remove_if([&](const key_type& key, const auto&) { return std::invoke(predicate, key); });
  }

  /// What add() puts; none: the view is not for adding.
  const std::optional<mapped_type>& mapped_value() const noexcept { return mapped_; }
  Map& map() const noexcept { return *map_; }

 private:
  std::shared_ptr<Map> map_;  // without ownership, but for new_key_set()
  std::optional<mapped_type> mapped_;
};

/// The values of a ConcurrentHashMap; Java's values(). Removing one removes its entry from the map, which
/// must outlive the view.
template <typename Map>
class ValuesView
    : public detail::MapView<ValuesView<Map>, Map,
                             detail::ValueOf<typename Map::key_type, typename Map::mapped_type>> {
 public:
  using mapped_type = typename Map::mapped_type;

  explicit ValuesView(Map& map) noexcept : map_(&map) {}

  bool contains(const mapped_type& value) const { return map_->contains_value(value); }
  /// Removes one entry with this value; returns whether there was one.
  bool remove(const mapped_type& value) const requires(!std::is_const_v<Map>) {
    for (const auto& [key, each] : *map_) {
      if (each == value && map_->remove(key, value)) return true;
    }
    return false;
  }
  /// Removes the entries for whose values `predicate` is true, and returns how many; see the map's
  /// remove_if().
  template <std::predicate<const mapped_type&> Predicate>
  requires(!std::is_const_v<Map>) std::size_t remove_if(Predicate&& predicate)
  const {
    return map_->remove_if(
        [&](const auto&, const mapped_type& value) { return std::invoke(predicate, value); });
  }
  Map& map() const noexcept { return *map_; }

 private:
  Map* map_;
};

/// The entries of a ConcurrentHashMap, as a set; Java's entrySet(). What iteration gives are copies: the
/// map's put() or replace() changes a value. The map must outlive the view.
template <typename Map>
class EntrySetView
    : public detail::MapView<EntrySetView<Map>, Map,
                             detail::EntryOf<typename Map::key_type, typename Map::mapped_type>> {
 public:
  using Entry = typename Map::Entry;

  explicit EntrySetView(Map& map) noexcept : map_(&map) {}

  /// Whether the key has that value.
  bool contains(const Entry& entry) const {
    const auto value = map_->get(entry.key);
    return value && *value == entry.value;
  }
  /// Puts the value; returns whether the key had none.
  bool add(Entry entry) const requires(!std::is_const_v<Map>) {
    return !map_->put(std::move(entry.key), std::move(entry.value));
  }
  /// Removes the key if it has that value; returns whether it did.
  bool remove(const Entry& entry) const requires(!std::is_const_v<Map>) {
    return map_->remove(entry.key, entry.value);
  }
  /// Removes the entries for which `predicate(entry)` is true, and returns how many; see the map's
  /// remove_if().
  template <std::predicate<const Entry&> Predicate>
  requires(!std::is_const_v<Map>) std::size_t remove_if(Predicate&& predicate)
  const {
    return map_->remove_if([&](const auto& key, const auto& value) {
      return std::invoke(predicate, Entry{key, value});
    });
  }
  Map& map() const noexcept { return *map_; }

 private:
  Map* map_;
};

}  // namespace creel

// Weakly consistent: an algorithm that trusted size() would read past the end.
template <typename Map>
inline constexpr bool std::ranges::disable_sized_range<creel::KeySetView<Map>> = true;
template <typename Map>
inline constexpr bool std::ranges::disable_sized_range<creel::ValuesView<Map>> = true;
template <typename Map>
inline constexpr bool std::ranges::disable_sized_range<creel::EntrySetView<Map>> = true;
