#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/waker_set.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel::scheduler {

/// What a channel has seen so far. Times are sums over the threads that waited, waits in progress included.
struct ChannelStats {
  std::uint64_t items = 0;              ///< taken
  std::size_t depth = 0;                ///< put and not yet taken, those out of their turn included
  std::chrono::nanoseconds blocked{0};  ///< spent in put, full
  std::chrono::nanoseconds starved{0};  ///< spent in take, empty
};

/// The part of a Channel that does not depend on its items: order, waiting, closing, timing.
class ChannelBase {
 public:
  ChannelBase(const ChannelBase&) = delete;
  ChannelBase& operator=(const ChannelBase&) = delete;
  virtual ~ChannelBase();

  /// "decode -> collate".
  const std::string& name() const noexcept { return name_; }
  std::size_t capacity() const noexcept { return states_.size(); }
  ChannelStats stats() const;

  /// Declares all the threads that put and take, so that a deadlock through the channel is found: see
  /// WakerSet.
  void used_by(std::span<const Thread> threads) { users_.assign(threads); }

  /// Ends the stream in good order: nothing more is put, takers get what is left and then nullopt.
  void close() noexcept;
  /// Ends it at once: takers get nullopt though items are left, which die with the channel.
  void cancel() noexcept;
  /// Ends it by a failure that every put and take, also those that wait now, throws. The first one stays.
  void fail(std::exception_ptr failure) noexcept;

 protected:
  enum class Slot : std::uint8_t { Empty, Full, Hole };
  static constexpr std::uint64_t kNext = UINT64_MAX;  // a put that takes the next number

  ChannelBase(std::string producer, std::string consumer, std::size_t capacity);

  // Waits until the slot of `sequence` (or of the next number) may be filled, and gives its number; kNext:
  // ended.
  std::uint64_t reserve(std::unique_lock<std::mutex>& lock, std::uint64_t sequence, Deadline deadline);
  void commit(std::unique_lock<std::mutex>& lock, std::uint64_t sequence, Slot state) noexcept;
  // Waits until the head is there; false: ended.
  bool acquire(std::unique_lock<std::mutex>& lock, Deadline deadline);
  // Frees the head; returns how many were taken before it.
  std::uint64_t release(std::unique_lock<std::mutex>& lock) noexcept;

  std::size_t slot_of(std::uint64_t sequence) const noexcept { return sequence % states_.size(); }
  std::size_t head_slot() const noexcept { return slot_of(head_); }
  std::unique_lock<std::mutex> lock() const { return std::unique_lock(mutex_); }

 private:
  enum class End : std::uint8_t { Open, Closed, Cancelled, Failed };
  struct Waiter;
  struct WaitList {
    Waiter* first = nullptr;
    Waiter* last = nullptr;
    std::chrono::nanoseconds total{0};
    std::int64_t since_sum = 0;  // of the waits in progress, ns on the steady clock
    std::int64_t waiting = 0;

    void push(Waiter& waiter) noexcept;
    void remove(Waiter& waiter) noexcept;
    std::chrono::nanoseconds time(std::int64_t now) const noexcept;
  };
  class Wakes;

  template <typename Ready>
  void wait(std::unique_lock<std::mutex>& lock, WaitList& list, std::uint64_t sequence, Deadline deadline,
            Ready ready);
  void wait_once(std::unique_lock<std::mutex>& lock, WaitList& list, Waiter& waiter, Deadline deadline);
  void pass_on(WaitList& list, Wakes& wakes) noexcept;
  void end(End how, std::exception_ptr failure) noexcept;
  void skip_holes() noexcept;
  void wake_taker(Wakes& wakes) noexcept;
  void wake_putters(Wakes& wakes) noexcept;
  const char* text_for(const WaitList& list) const noexcept;

  const std::string name_;
  // The three reasons to wait, spelt out beforehand: a dump reads them while the thread is parked.
  const std::string empty_text_;
  const std::string turn_text_;
  const std::string full_text_;

  // A plain mutex: held for some dozen instructions and never across a wait.
  mutable std::mutex mutex_;
  std::vector<Slot> states_;
  std::uint64_t head_ = 0;  // number of the item that is taken next
  std::uint64_t tail_ = 0;  // one past the highest number put
  std::uint64_t taken_ = 0;
  std::size_t depth_ = 0;
  End end_ = End::Open;
  std::exception_ptr failure_;
  WaitList putters_;
  WaitList takers_;
  WakerSet users_;  // of both ends: a putter may have to wait for the one whose turn it is
};

/// A bounded queue between two stages that measures how long its ends wait, and is named after them.
///
///     Channel<Sample> channel{"decode", "collate", 16};
///     channel.put(std::move(sample));                    // in one thread
///     for (Sample& sample : channel) use(sample);        // in another; ends when the channel is closed
///
/// Any number of threads may put and take. Items leave in the order of their numbers: put() takes the next
/// number, put_at() brings one's own, so that workers which finish out of order restore it (the capacity is
/// the window). A channel is used with one of the two only.
///
/// In dumps: type creel::scheduler::Channel, name "decode -> collate, empty, fed by stage decode".
/// Memory effects: what happens before a put happens before the take of that item returns.
/// Fairness: none; a thread that arrives may overtake one that is being woken. A put that had to wait goes on
/// when half of the capacity is free, so that producer and consumer do not take turns item by item.
template <typename T>
class Channel final : public ChannelBase {
  static_assert(std::is_nothrow_move_constructible_v<T>, "an item must not fail halfway between two stages");

 public:
  struct Numbered {
    std::uint64_t sequence;  ///< how many items were taken before this one
    T value;
  };

  /// `capacity` items, at least 1, fit between the stages `producer` and `consumer`.
  Channel(std::string producer, std::string consumer, std::size_t capacity)
      : ChannelBase(std::move(producer), std::move(consumer), capacity), values_(this->capacity()) {}

  /// Waits for room. False if the channel has ended, the item is lost then. Throws TimeoutError after
  /// `deadline`, InterruptedError when interrupted while waiting, and what fail() was given.
  [[nodiscard]] bool put(T value, Deadline deadline = {}) {
    return put_at(kNext, std::move(value), deadline);
  }

  /// As put, with a number of one's own, each used once: waits until `sequence` is less than capacity ahead
  /// of the item that is taken next. The thread that brings that item never waits.
  [[nodiscard]] bool put_at(std::uint64_t sequence, T value, Deadline deadline = {}) {
    std::unique_lock<std::mutex> guard = lock();
    sequence = reserve(guard, sequence, deadline);
    if (sequence == kNext) return false;
    values_[slot_of(sequence)].emplace(std::move(value));
    commit(guard, sequence, Slot::Full);
    return true;
  }

  /// Says that no item of this number will come.
  [[nodiscard]] bool skip_at(std::uint64_t sequence, Deadline deadline = {}) {
    std::unique_lock<std::mutex> guard = lock();
    sequence = reserve(guard, sequence, deadline);
    if (sequence == kNext) return false;
    commit(guard, sequence, Slot::Hole);
    return true;
  }

  /// Waits for the next item; nullopt when the channel has ended. Throws as put().
  std::optional<T> take(Deadline deadline = {}) {
    std::optional<Numbered> item = take_numbered(deadline);
    if (!item) return std::nullopt;
    return std::optional<T>(std::move(item->value));
  }

  /// As take, with the item's place in the order in which items were taken.
  std::optional<Numbered> take_numbered(Deadline deadline = {}) {
    std::unique_lock<std::mutex> guard = lock();
    if (!acquire(guard, deadline)) return std::nullopt;
    std::optional<T>& slot = values_[head_slot()];
    T value = std::move(*slot);
    slot.reset();
    return Numbered{release(guard), std::move(value)};
  }

  /// Takes item by item for range-for.
  class Iterator {
   public:
    explicit Iterator(Channel* channel) : channel_(channel) { ++*this; }
    T& operator*() { return *item_; }
    Iterator& operator++() {
      item_ = channel_->take();
      return *this;
    }
    friend bool operator==(const Iterator& i, std::default_sentinel_t) { return !i.item_.has_value(); }

   private:
    Channel* channel_;
    std::optional<T> item_;
  };
  Iterator begin() { return Iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  std::vector<std::optional<T>> values_;
};

}  // namespace creel::scheduler
