#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <type_traits>

namespace creel::detail {

inline constexpr std::size_t kCacheLine = 64;

/// How many stripes keep the processors of this machine apart: a power of two, at most 64.
std::size_t stripe_count() noexcept;
/// The stripe of the processor that the caller runs on, about: it may be moved at any moment, so stripes are
/// atomics.
[[gnu::noinline]] std::size_t current_stripe() noexcept;

/// A value that many threads update by an associative and commutative operation: one atomic as long as they
/// do not meet, then one for each processor on a cache line of its own. Updates and reads are relaxed: they
/// order nothing.
template <typename Value>
class Striped {
 public:
  explicit Striped(Value identity) noexcept : identity_(identity), base_(identity) {}
  ~Striped() { delete[] cells_.load(std::memory_order_acquire); }
  Striped(const Striped&) = delete;
  Striped& operator=(const Striped&) = delete;

  /// value ← update(value), somewhere. `update` may be called more than once for one result.
  template <typename Update>
  void apply(const Update& update) {
    Cell* cells = cells_.load(std::memory_order_acquire);
    if (cells == nullptr) {
      if (try_once(base_, update)) return;
      cells = make_cells();
    }
    std::atomic<Value>& cell = cells[current_stripe()].value;
    while (!try_once(cell, update)) {
    }
  }

  /// apply() for a sum of integers, which the processor does in one go.
  void add(Value amount) requires std::is_integral_v<Value> {
    Cell* cells = cells_.load(std::memory_order_acquire);
    if (cells == nullptr) {
      if (try_once(base_, [amount](Value value) { return wrapping_sum(value, amount); })) return;
      cells = make_cells();
    }
    cells[current_stripe()].value.fetch_add(amount, std::memory_order_relaxed);
  }

  /// All of it, combined. No snapshot: updates made meanwhile may be missing.
  template <typename Combine>
  Value fold(Combine combine) const {
    Value result = base_.load(std::memory_order_relaxed);
    if (const Cell* const cells = cells_.load(std::memory_order_acquire)) {
      for (std::size_t i = 0; i < stripe_count(); ++i)
        result = combine(result, cells[i].value.load(std::memory_order_relaxed));
    }
    return result;
  }

  /// fold(), each part of it set back as it is read: an update is in this result or in a later one.
  template <typename Combine>
  Value fold_and_reset(Combine combine) {
    Value result = base_.exchange(identity_, std::memory_order_relaxed);
    if (Cell* const cells = cells_.load(std::memory_order_acquire)) {
      for (std::size_t i = 0; i < stripe_count(); ++i)
        result = combine(result, cells[i].value.exchange(identity_, std::memory_order_relaxed));
    }
    return result;
  }

  Value identity() const noexcept { return identity_; }

  static Value wrapping_sum(Value a, Value b) noexcept requires std::is_integral_v<Value> {
    using Unsigned = std::make_unsigned_t<Value>;
    return static_cast<Value>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b));
  }

 private:
  struct alignas(kCacheLine) Cell {
    std::atomic<Value> value;
  };

  template <typename Update>
  static bool try_once(std::atomic<Value>& place, const Update& update) {
    Value seen = place.load(std::memory_order_relaxed);
    return place.compare_exchange_strong(seen, update(seen), std::memory_order_relaxed);
  }

  Cell* make_cells() {
    std::unique_ptr<Cell[]> made{new Cell[stripe_count()]};
    for (std::size_t i = 0; i < stripe_count(); ++i)
      made[i].value.store(identity_, std::memory_order_relaxed);
    Cell* expected = nullptr;
    if (cells_.compare_exchange_strong(expected, made.get(), std::memory_order_acq_rel))
      return made.release();
    return expected;
  }

  const Value identity_;
  std::atomic<Value> base_;
  std::atomic<Cell*> cells_{nullptr};
};

}  // namespace creel::detail
