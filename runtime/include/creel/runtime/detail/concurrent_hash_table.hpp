#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/epoch.hpp>
#include <creel/runtime/detail/function_ref.hpp>
#include <creel/runtime/detail/lock_core.hpp>
#include <creel/runtime/detail/striped.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

namespace creel::detail {

/// A function of the user's that runs inside compute() or its like, on the stack of its thread: such a
/// function may not change the same map.
struct MapComputation {
  explicit MapComputation(const void* map) noexcept;
  ~MapComputation();
  MapComputation(const MapComputation&) = delete;
  MapComputation& operator=(const MapComputation&) = delete;

  const void* const map;
  const MapComputation* const outer;
};

/// Throws Error if the calling thread is inside a MapComputation of `map`.
void check_not_computing(const void* map, const std::string& name);

/// How many stripes a map has: enough to keep the writers of this machine apart.
std::size_t map_stripe_count() noexcept;

/// Calls `body` with 0 to count - 1: on the workers of the common pool if `parallel`, else in order here.
void for_each_stripe(std::size_t count, bool parallel, FunctionRef<void(std::size_t)> body);

/// As many stripes as a power of two, in one piece of memory.
template <typename Stripe>
class StripeArray {
 public:
  StripeArray(std::size_t count, const std::string& name)
      : stripes_(std::allocator<Stripe>().allocate(count)), capacity_(count) {
    try {
      for (; size_ < count; ++size_) ::new (stripes_ + size_) Stripe(name);
    } catch (...) {
      destroy();
      throw;
    }
  }
  ~StripeArray() { destroy(); }
  StripeArray(const StripeArray&) = delete;
  StripeArray& operator=(const StripeArray&) = delete;

  std::size_t size() const noexcept { return size_; }
  Stripe& operator[](std::size_t index) const noexcept { return stripes_[index]; }
  Stripe* begin() const noexcept { return stripes_; }
  Stripe* end() const noexcept { return stripes_ + size_; }

 private:
  void destroy() noexcept {
    std::destroy(begin(), end());
    std::allocator<Stripe>().deallocate(stripes_, capacity_);
  }

  Stripe* const stripes_;
  const std::size_t capacity_;
  std::size_t size_ = 0;
};

/// The value of a node. One that a processor writes in one go is exchanged in place; any other never changes,
/// the node is exchanged with it.
template <typename V>
class MapValue {
 public:
  static constexpr bool kInPlace = false;
  template <typename Value>
  explicit MapValue(Value&& value) : value_(std::forward<Value>(value)) {}
  const V& get() const noexcept { return value_; }

 private:
  const V value_;
};
template <typename V>
requires(std::is_trivially_copyable_v<V>&& std::is_copy_constructible_v<V> &&
         (sizeof(V) == 1 || sizeof(V) == 2 || sizeof(V) == 4 || sizeof(V) == 8)) class MapValue<V> {
 public:
  static constexpr bool kInPlace = true;
  explicit MapValue(V value) noexcept : value_(value) {}
  // acquire, with the release of set(): the value may be a pointer to something new.
  V get() const noexcept { return value_.load(std::memory_order_acquire); }
  void set(V value) noexcept { value_.store(value, std::memory_order_release); }

 private:
  std::atomic<V> value_;
};

/// One stripe of a ConcurrentHashMap: a table of pointers to nodes, by open addressing. Readers probe without
/// a lock, inside a ReadGuard; writers hold the stripe's lock and never free or reuse what a reader may be
/// looking at: they exchange pointers, or values in one go, and retire the old nodes and tables.
template <typename K, typename V>
class HashStripe {
 public:
  static constexpr Freeing kFreeing =
      std::is_trivially_destructible_v<K> && std::is_trivially_destructible_v<V> ? Freeing::Batched
                                                                                 : Freeing::AtOnce;
  using Reading = ReadGuard<kFreeing>;

  struct Node {
    template <typename Key, typename Value>
    Node(std::size_t its_hash, Key&& k, Value&& v)
        : hash(its_hash), key(std::forward<Key>(k)), value(std::forward<Value>(v)) {}
    static void destroy(Node* node) noexcept { delete node; }

    union {
      std::size_t hash;  // while the table points here; writers only
      Node* next_retired;
    };
    const K key;
    MapValue<V> value;
  };

  explicit HashStripe(const std::string& name) : lock_("creel::ConcurrentHashMap", false, false, name) {}
  ~HashStripe() {
    if (Table* const table = table_.load(std::memory_order_acquire)) {
      for (Slot& slot : *table) delete slot.node();
      Table::destroy(table);
    }
    nodes_.free(spare_);
  }
  HashStripe(const HashStripe&) = delete;
  HashStripe& operator=(const HashStripe&) = delete;

  /// Holds the lock; frees what can be freed after it has given it back, since that runs users' destructors.
  class Writing {
   public:
    explicit Writing(HashStripe& stripe) : stripe_(stripe) {
      stripe_.lock_.lock(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)), Deadline::never(),
                         Interruptible::No);
    }
    ~Writing() {
      auto nodes = stripe_.nodes_.harvest(kNodeBatch);
      if (kReusesNodes && stripe_.spare_.head == nullptr) std::swap(stripe_.spare_, nodes);
      const auto tables = stripe_.tables_.harvest(kTableBatch);
      stripe_.lock_.unlock();
      stripe_.nodes_.free(nodes);
      stripe_.tables_.free(tables);
    }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    HashStripe& stripe_;
  };

  /// A node with the upper bits of its hash, so that others are rarely looked at: one word.
  class Slot {
   public:
    // A user's addresses on x86-64 have 47 bits.
    static constexpr unsigned kTagShift = 48;
    static constexpr std::uint64_t kEmpty = 0, kRemoved = 1;  // 1: probes pass here, a node was
    static_assert(sizeof(void*) == sizeof(std::uint64_t));

    static std::uint64_t tag_of(std::size_t hash) noexcept { return (hash >> kTagShift) | 1; }  // never 0
    static Node* node_of(std::uint64_t word) noexcept {
      return word <= kRemoved ? nullptr
                              : reinterpret_cast<Node*>(word & ((std::uint64_t{1} << kTagShift) - 1));
    }
    std::uint64_t load(std::memory_order order) const noexcept { return word_.load(order); }
    Node* node() const noexcept { return node_of(load(std::memory_order_relaxed)); }
    void set(Node* node, std::memory_order order) noexcept {
      word_.store(reinterpret_cast<std::uintptr_t>(node) | (tag_of(node->hash) << kTagShift), order);
    }
    void remove() noexcept { word_.store(kRemoved, std::memory_order_release); }

   private:
    std::atomic<std::uint64_t> word_{kEmpty};
  };

  struct Found {
    Slot* slot = nullptr;
    Node* node = nullptr;
    explicit operator bool() const noexcept { return node != nullptr; }
    decltype(auto) value() const noexcept { return std::as_const(node->value).get(); }
  };
  /// Inside a Reading or a Writing, and good until its end.
  template <typename Key, typename Equal>
  Found find(std::size_t hash, const Key& key, const Equal& equal) const {
    Table* const table = table_.load(std::memory_order_acquire);
    if (table == nullptr) return {};
    for (std::size_t i = hash & table->mask;; i = (i + 1) & table->mask) {
      Slot& slot = table->slots()[i];
      const std::uint64_t word = slot.load(std::memory_order_acquire);
      if (word == Slot::kEmpty) return {};
      if (word >> Slot::kTagShift != Slot::tag_of(hash)) continue;
      Node* const node = Slot::node_of(word);
      if (equal(node->key, key)) return {&slot, node};
    }
  }
  /// Inside a Reading or a Writing. `visit(Found)` returns whether to go on; so does the whole.
  template <typename Visit>
  bool for_each(const Visit& visit) const {
    Table* const table = table_.load(std::memory_order_acquire);
    if (table == nullptr) return true;
    for (Slot& slot : *table) {
      Node* const node = Slot::node_of(slot.load(std::memory_order_acquire));
      if (node != nullptr && !visit(Found{&slot, node})) return false;
    }
    return true;
  }
  std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  // What follows needs a Writing.

  /// The value of a key that find() has found, or has not.
  template <typename Key, typename Value>
  void set(std::size_t hash, Found found, Key&& key, Value&& value) {
    if (!found) {
      insert(hash, std::forward<Key>(key), std::forward<Value>(value));
    } else if constexpr (MapValue<V>::kInPlace) {
      found.node->value.set(std::forward<Value>(value));
    } else {
      found.slot->set(new Node(hash, std::forward<Key>(key), std::forward<Value>(value)),
                      std::memory_order_release);
      nodes_.add(found.node);
    }
  }
  void erase(Found found) noexcept {
    found.slot->remove();
    size_.store(size() - 1, std::memory_order_relaxed);
    nodes_.add(found.node);
  }
  /// Room for `count` nodes without growing.
  void reserve(std::size_t count) {
    const Table* const table = table_.load(std::memory_order_relaxed);
    if (count > 0 && (table == nullptr || table->is_full(count))) rebuild(count);
  }

 private:
  // Its slots follow it in memory.
  struct Table {
    explicit Table(std::size_t capacity) noexcept : mask(capacity - 1) {}
    static Table* make(std::size_t capacity) {
      void* const memory = ::operator new(sizeof(Table) + capacity * sizeof(Slot));
      Table* const table = ::new (memory) Table(capacity);
      for (Slot& slot : *table) ::new (&slot) Slot;
      return table;
    }
    static void destroy(Table* table) noexcept { ::operator delete(table); }  // slots have nothing to destroy
    std::size_t capacity() const noexcept { return mask + 1; }
    /// Whether one more than `used` is more than three quarters.
    bool is_full(std::size_t used) const noexcept { return (used + 1) * 4 > capacity() * 3; }
    Slot* slots() noexcept { return reinterpret_cast<Slot*>(this + 1); }
    Slot* begin() noexcept { return slots(); }
    Slot* end() noexcept { return slots() + capacity(); }

    Table* next_retired = nullptr;
    const std::size_t mask;
  };

  // Values with destructors are not kept waiting; memory is freed when it has come to some KiB.
  static constexpr std::size_t kNodeBatch = kFreeing == Freeing::AtOnce ? 1 : 256;
  static constexpr std::size_t kTableBatch = 1024;  // slots
  static constexpr bool kReusesNodes = kFreeing == Freeing::Batched;

  template <typename Key, typename Value>
  Node* make_node(std::size_t hash, Key&& key, Value&& value) {
    if constexpr (kReusesNodes && std::is_nothrow_constructible_v<Node, std::size_t, Key, Value>) {
      if (Node* const spare = spare_.head) {
        spare_.head = spare->next_retired;
        return ::new (static_cast<void*>(spare))
            Node(hash, std::forward<Key>(key), std::forward<Value>(value));
      }
    }
    return new Node(hash, std::forward<Key>(key), std::forward<Value>(value));
  }

  // A key that is not there.
  template <typename Key, typename Value>
  void insert(std::size_t hash, Key&& key, Value&& value) {
    Table* table = table_.load(std::memory_order_relaxed);
    if (table == nullptr || table->is_full(used_)) table = rebuild(size() + 1);
    std::size_t i = hash & table->mask;
    while (table->slots()[i].node() != nullptr) i = (i + 1) & table->mask;
    Slot& slot = table->slots()[i];
    const bool was_empty = slot.load(std::memory_order_relaxed) == Slot::kEmpty;
    slot.set(make_node(hash, std::forward<Key>(key), std::forward<Value>(value)), std::memory_order_release);
    if (was_empty) ++used_;
    size_.store(size() + 1, std::memory_order_relaxed);
  }

  // A new table for the nodes of the old, without the places of removed ones; at most half full.
  Table* rebuild(std::size_t count) {
    Table* const next = Table::make(std::bit_ceil(std::max<std::size_t>(8, 2 * count)));
    Table* const old = table_.load(std::memory_order_relaxed);
    if (old != nullptr) {
      for (const Slot& from : *old) {
        Node* const node = from.node();
        if (node == nullptr) continue;
        std::size_t at = node->hash & next->mask;
        while (next->slots()[at].node() != nullptr) at = (at + 1) & next->mask;
        next->slots()[at].set(node, std::memory_order_relaxed);
      }
    }
    used_ = size();
    table_.store(next, std::memory_order_release);
    if (old != nullptr) tables_.add(old, old->capacity());
    return next;
  }

  // On a cache line of its own, which readers keep while writers take the lock.
  alignas(kCacheLine) std::atomic<Table*> table_{nullptr};  // null: nothing was ever inserted
  alignas(kCacheLine) LockCore lock_;
  std::atomic<std::size_t> size_{0};
  std::size_t used_ = 0;  // slots of the table that are not empty
  RetireList<Node, kFreeing> nodes_;
  RetireList<Table, kFreeing> tables_;
  typename RetireList<Node, kFreeing>::Chain spare_;  // memory for nodes to come
};

}  // namespace creel::detail
