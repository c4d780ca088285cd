#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/epoch.hpp>
#include <creel/runtime/detail/lock_core.hpp>

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

/// What was made unreachable and may still be read; guarded by the lock of its stripe.
template <typename Item>
class RetireList {
 public:
  struct Chain {
    Item* head = nullptr;
    Item* tail = nullptr;
  };

  ~RetireList() {
    free({pending_.head});
    free({waiting_.head});
  }

  void add(Item* item) noexcept {
    push(pending_, item);
    ++count_;
  }
  /// What may be freed now. Looks only when `batch` items have come since it last looked.
  Chain harvest(std::size_t batch) noexcept {
    Chain free;
    if (count_ == 0 || count_ < looked_at_ + batch) return free;
    if (waiting_.head != nullptr && may_free(epoch_)) free = std::exchange(waiting_, {});
    if (waiting_.head == nullptr) {
      waiting_ = std::exchange(pending_, {});
      epoch_ = retire_epoch();
      count_ = 0;
      if (may_free(epoch_)) {
        waiting_.tail->next_retired = free.head;
        if (free.tail == nullptr) free.tail = waiting_.tail;
        free.head = waiting_.head;
        waiting_ = {};
      }
    }
    looked_at_ = count_;
    return free;
  }
  static void free(Chain chain) noexcept {
    while (chain.head != nullptr) Item::destroy(std::exchange(chain.head, chain.head->next_retired));
  }

 private:
  static void push(Chain& chain, Item* item) noexcept {
    item->next_retired = chain.head;
    chain.head = item;
    if (chain.tail == nullptr) chain.tail = item;
  }

  Chain pending_;  // retired since the last look that found something to do
  Chain waiting_;  // retired by `epoch_`
  std::uint64_t epoch_ = 0;
  std::size_t count_ = 0;  // of pending_
  std::size_t looked_at_ = 0;
};

/// One stripe of a ConcurrentHashMap: a table of pointers to immutable nodes, by open addressing. Readers
/// probe without a lock, inside a ReadGuard; writers hold the stripe's lock and never change what a reader
/// may be looking at: they exchange pointers and retire the old nodes and tables.
template <typename K, typename V>
class HashStripe {
 public:
  struct Node {
    template <typename Key, typename Value>
    Node(Key&& k, Value&& v) : key(std::forward<Key>(k)), value(std::forward<Value>(v)) {}
    static void destroy(Node* node) noexcept { delete node; }

    Node* next_retired = nullptr;
    const K key;
    const V value;
  };

  // The hash is written before the node, and read after it: whoever sees a node sees its hash or a later one,
  // and then the node has been removed meanwhile.
  struct Slot {
    std::atomic<std::size_t> hash{0};
    std::atomic<Node*> node{nullptr};
  };

  explicit HashStripe(const std::string& name) : lock_("creel::ConcurrentHashMap", false, false, name) {}
  ~HashStripe() {
    if (Table* const table = table_.load(std::memory_order_acquire)) {
      for (std::size_t i = 0; i <= table->mask; ++i) {
        Node* const node = table->slots()[i].node.load(std::memory_order_relaxed);
        if (is_node(node)) delete node;
      }
      Table::destroy(table);
    }
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
      const auto nodes = stripe_.nodes_.harvest(kBatch);
      const auto tables = stripe_.tables_.harvest(1);
      stripe_.lock_.unlock();
      RetireList<Node>::free(nodes);
      RetireList<Table>::free(tables);
    }
    Writing(const Writing&) = delete;
    Writing& operator=(const Writing&) = delete;

   private:
    HashStripe& stripe_;
  };

  struct Found {
    Slot* slot = nullptr;
    Node* node = nullptr;
    explicit operator bool() const noexcept { return node != nullptr; }
  };
  /// Inside a ReadGuard or a Writing, and good until its end.
  template <typename Equal>
  Found find(std::size_t hash, const K& key, const Equal& equal) const {
    Table* const table = table_.load(std::memory_order_acquire);
    if (table == nullptr) return {};
    for (std::size_t i = hash & table->mask;; i = (i + 1) & table->mask) {
      Slot& slot = table->slots()[i];
      Node* const node = slot.node.load(std::memory_order_acquire);
      if (node == nullptr) return {};
      if (node != removed() && slot.hash.load(std::memory_order_relaxed) == hash && equal(node->key, key))
        return {&slot, node};
    }
  }
  /// Inside a ReadGuard or a Writing. `visit` returns whether to go on; so does the whole.
  template <typename Visit>
  bool for_each(const Visit& visit) const {
    Table* const table = table_.load(std::memory_order_acquire);
    for (std::size_t i = 0; table != nullptr && i <= table->mask; ++i) {
      Node* const node = table->slots()[i].node.load(std::memory_order_acquire);
      if (is_node(node) && !visit(std::as_const(*node))) return false;
    }
    return true;
  }
  std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  // What follows needs a Writing.

  /// A key that is not there.
  void insert(std::size_t hash, std::unique_ptr<Node> node) {
    Table* table = table_.load(std::memory_order_relaxed);
    if (table == nullptr || (used_ + 1) * 4 > (table->mask + 1) * 3) table = rebuild(size() + 1);
    std::size_t i = hash & table->mask;
    while (is_node(table->slots()[i].node.load(std::memory_order_relaxed))) i = (i + 1) & table->mask;
    Slot& slot = table->slots()[i];
    if (slot.node.load(std::memory_order_relaxed) == nullptr) ++used_;
    slot.hash.store(hash, std::memory_order_relaxed);
    slot.node.store(node.release(), std::memory_order_release);
    size_.store(size() + 1, std::memory_order_relaxed);
  }
  void replace(Found found, std::unique_ptr<Node> node) noexcept {
    found.slot->node.store(node.release(), std::memory_order_release);
    nodes_.add(found.node);
  }
  void erase(Found found) noexcept {
    found.slot->node.store(removed(), std::memory_order_release);  // the probes of other keys may pass here
    size_.store(size() - 1, std::memory_order_relaxed);
    nodes_.add(found.node);
  }
  void clear() noexcept {
    Table* const table = table_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; table != nullptr && i <= table->mask; ++i) {
      Slot& slot = table->slots()[i];
      if (Node* const node = slot.node.load(std::memory_order_relaxed); is_node(node)) erase({&slot, node});
    }
  }
  /// Room for `count` nodes without growing.
  void reserve(std::size_t count) {
    const Table* const table = table_.load(std::memory_order_relaxed);
    if (count > 0 && (table == nullptr || (count + 1) * 4 > (table->mask + 1) * 3)) rebuild(count);
  }

 private:
  // Its slots follow it in memory.
  struct Table {
    explicit Table(std::size_t capacity) noexcept : mask(capacity - 1) {}
    static Table* make(std::size_t capacity) {
      void* const memory = ::operator new(sizeof(Table) + capacity * sizeof(Slot));
      Table* const table = ::new (memory) Table(capacity);
      for (std::size_t i = 0; i < capacity; ++i) ::new (table->slots() + i) Slot;
      return table;
    }
    static void destroy(Table* table) noexcept { ::operator delete(table); }  // slots have nothing to destroy
    Slot* slots() noexcept { return reinterpret_cast<Slot*>(this + 1); }

    Table* next_retired = nullptr;
    const std::size_t mask;
  };

  static constexpr std::size_t kBatch =
      std::is_trivially_destructible_v<K> && std::is_trivially_destructible_v<V> ? 64 : 1;

  static Node* removed() noexcept { return reinterpret_cast<Node*>(alignof(Node)); }  // where a node was
  static bool is_node(const Node* node) noexcept { return node != nullptr && node != removed(); }

  // A new table for the nodes of the old, without the places of removed ones; at most half full.
  Table* rebuild(std::size_t count) {
    Table* const next = Table::make(std::bit_ceil(std::max<std::size_t>(8, 2 * count)));
    Table* const old = table_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; old != nullptr && i <= old->mask; ++i) {
      const Slot& from = old->slots()[i];
      Node* const node = from.node.load(std::memory_order_relaxed);
      if (!is_node(node)) continue;
      const std::size_t hash = from.hash.load(std::memory_order_relaxed);
      std::size_t at = hash & next->mask;
      while (next->slots()[at].node.load(std::memory_order_relaxed) != nullptr) at = (at + 1) & next->mask;
      next->slots()[at].hash.store(hash, std::memory_order_relaxed);
      next->slots()[at].node.store(node, std::memory_order_relaxed);
    }
    used_ = size();
    table_.store(next, std::memory_order_release);
    if (old != nullptr) tables_.add(old);
    return next;
  }

  std::atomic<Table*> table_{nullptr};  // null: nothing was ever inserted
  std::atomic<std::size_t> size_{0};
  std::size_t used_ = 0;  // slots of the table that are not null
  LockCore lock_;
  RetireList<Node> nodes_;
  RetireList<Table> tables_;
};

}  // namespace creel::detail
