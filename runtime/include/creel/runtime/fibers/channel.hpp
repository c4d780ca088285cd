#pragma once

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/detail/hand_off.hpp>
#include <creel/runtime/fibers/exceptions.hpp>
#include <creel/runtime/fibers/time.hpp>

#include <chrono>
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace creel::fibers {

enum class channel_op_status { success = 0, empty, full, closed, timeout };

namespace detail {

/// What both channels have in common: `Channel` has push_before(), pop_before() and is_closed().
template <typename Channel, typename T>
class ChannelBase {
 public:
  using value_type = T;

  channel_op_status push(const T& value) { return push(T(value)); }
  channel_op_status push(T&& value) { return self().push_before(std::move(value), Deadline::never()); }

  template <typename Value, typename Rep, typename Period>
  channel_op_status push_wait_for(Value&& value, const std::chrono::duration<Rep, Period>& timeout) {
    return self().push_before(T(std::forward<Value>(value)), Deadline(timeout));
  }
  template <typename Value, typename Clock, typename Duration>
  channel_op_status push_wait_until(Value&& value, const std::chrono::time_point<Clock, Duration>& when) {
    return self().push_before(T(std::forward<Value>(value)), deadline_of(when));
  }

  channel_op_status pop(T& value) { return pop_into(value, Deadline::never()); }
  /// Throws fiber_error (operation_not_permitted) if the channel is closed and empty.
  T value_pop() {
    std::optional<T> value = self().pop_before(Deadline::never());
    if (!value) {
      throw fiber_error(std::make_error_code(std::errc::operation_not_permitted),
                        "creel fibers: channel is closed");
    }
    return *std::move(value);
  }
  template <typename Rep, typename Period>
  channel_op_status pop_wait_for(T& value, const std::chrono::duration<Rep, Period>& timeout) {
    return pop_into(value, Deadline(timeout));
  }
  template <typename Clock, typename Duration>
  channel_op_status pop_wait_until(T& value, const std::chrono::time_point<Clock, Duration>& when) {
    return pop_into(value, deadline_of(when));
  }

  /// Pops until the channel is closed and empty.
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = T*;
    using reference = T&;

    iterator() noexcept = default;
    explicit iterator(Channel* channel) : channel_(channel) { ++*this; }
    bool operator==(const iterator& other) const noexcept { return channel_ == other.channel_; }
    iterator& operator++() {
      value_ = channel_->pop_before(Deadline::never());
      if (!value_) channel_ = nullptr;
      return *this;
    }
    void operator++(int) { ++*this; }
    T& operator*() const noexcept { return *value_; }
    T* operator->() const noexcept { return &*value_; }

   private:
    Channel* channel_ = nullptr;
    mutable std::optional<T> value_;
  };

  friend iterator begin(Channel& channel) { return iterator(&channel); }
  friend iterator end(Channel&) noexcept { return iterator(); }

 protected:
  channel_op_status pop_into(T& value, Deadline deadline) {
    std::optional<T> popped = self().pop_before(deadline);
    if (!popped && self().is_closed())
      popped = self().pop_before(Deadline::now());  // it came before the close
    if (popped) {
      value = *std::move(popped);
      return channel_op_status::success;
    }
    return self().is_closed() ? channel_op_status::closed : channel_op_status::timeout;
  }

 private:
  Channel& self() noexcept { return static_cast<Channel&>(*this); }
};

}  // namespace detail

/// A channel of capacity - 1 elements, as Boost's (one slot of its ring stays empty). Calls that wait throw
/// InterruptedError; dumps show them on an ArrayBlockingQueue "fibers::buffered_channel, empty" or "full".
///
///     fibers::buffered_channel<int> numbers{8};
///     fibers::fiber producer{[&] { for (int i = 0; i < 100; ++i) numbers.push(i); numbers.close(); }};
///     for (int number : numbers) sum += number;
template <typename T>
class buffered_channel : public detail::ChannelBase<buffered_channel<T>, std::remove_reference_t<T>> {
  using Value = std::remove_reference_t<T>;

 public:
  /// Throws fiber_error (invalid_argument) unless `capacity` is a power of two and at least 2.
  explicit buffered_channel(std::size_t capacity) : queue_(slots(capacity), "fibers::buffered_channel") {}
  ~buffered_channel() { close(); }

  bool is_closed() const noexcept { return queue_.is_closed(); }
  void close() noexcept { queue_.close(); }

  channel_op_status try_push(const Value& value) { return try_push(Value(value)); }
  channel_op_status try_push(Value&& value) {
    const channel_op_status status = push_before(std::move(value), Deadline::now());
    return status == channel_op_status::timeout ? channel_op_status::full : status;
  }
  channel_op_status try_pop(Value& value) {
    const channel_op_status status = this->pop_into(value, Deadline::now());
    return status == channel_op_status::timeout ? channel_op_status::empty : status;
  }

 private:
  friend class detail::ChannelBase<buffered_channel, Value>;

  static std::size_t slots(std::size_t capacity) {
    if (capacity < 2 || (capacity & (capacity - 1)) != 0) {
      throw fiber_error(
          std::make_error_code(std::errc::invalid_argument),
          "creel fibers: the capacity of a buffered_channel must be a power of two, at least 2");
    }
    return capacity - 1;
  }
  channel_op_status push_before(Value&& value, Deadline deadline) {
    if (queue_.offer(std::move(value), deadline)) return channel_op_status::success;
    return is_closed() ? channel_op_status::closed : channel_op_status::timeout;
  }
  std::optional<Value> pop_before(Deadline deadline) { return queue_.poll(deadline); }

  ArrayBlockingQueue<Value> queue_;
};

/// A channel without room: push() returns when another fiber has popped the value. Calls that wait throw
/// InterruptedError.
template <typename T>
class unbuffered_channel : public detail::ChannelBase<unbuffered_channel<T>, std::remove_reference_t<T>> {
  using Value = std::remove_reference_t<T>;

 public:
  unbuffered_channel() = default;
  ~unbuffered_channel() { close(); }

  bool is_closed() const noexcept { return hand_off_.core().is_closed(); }
  void close() noexcept { hand_off_.core().close(); }

 private:
  friend class detail::ChannelBase<unbuffered_channel, Value>;
  // On the heap, since what is handed over must not throw as it is moved, and T may.
  using HandOff = creel::detail::HandOff<std::unique_ptr<Value>>;

  channel_op_status push_before(Value&& value, Deadline deadline) {
    auto parcel = std::make_unique<Value>(std::move(value));
    switch (hand_off_.give(parcel, this, deadline)) {
      case HandOff::Outcome::Done:
        return channel_op_status::success;
      case HandOff::Outcome::TimedOut:
        break;
      case HandOff::Outcome::Closed:
        return channel_op_status::closed;
    }
    return channel_op_status::timeout;
  }
  std::optional<Value> pop_before(Deadline deadline) {
    std::optional<std::unique_ptr<Value>> parcel = hand_off_.take(this, deadline);
    if (!parcel) return std::nullopt;
    return std::move(**parcel);
  }

  HandOff hand_off_{"creel::fibers::unbuffered_channel", "", HandOff::Order::Fifo};
};

}  // namespace creel::fibers
