#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/condition.hpp>
#include <creel/runtime/detail/queue_gauge.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

namespace creel {

/// A BlockingQueue of fixed capacity over a ring of slots that is allocated once. One lock guards both ends,
/// so that it suits short queues that pass back pressure; between many producers and consumers
/// LinkedBlockingQueue is faster.
template <typename T>
class ArrayBlockingQueue final : public BlockingQueue<T> {
 public:
  /// Throws Error if `capacity` is 0. The name stands in dumps. A fair queue serves waiting threads in their
  /// order.
  explicit ArrayBlockingQueue(std::size_t capacity, std::string name = {},
                              ReentrantLock::Fairness fairness = ReentrantLock::Fairness::Unfair)
      : slots_(capacity),
        lock_(name, fairness),
        not_empty_(lock_, kType, name.empty() ? name : name + ", empty", this, this->users()),
        not_full_(lock_, kType, name.empty() ? name : name + ", full", this, this->users()),
        gauge_(name, *this) {
    if (capacity == 0) throw Error("the capacity of an ArrayBlockingQueue is 0; it must be at least 1");
  }

  /// Begins with `elements`. Throws Error if they are more than `capacity`.
  template <std::ranges::input_range Range>
  ArrayBlockingQueue(std::size_t capacity, FromRange, Range&& elements, std::string name = {},
                     ReentrantLock::Fairness fairness = ReentrantLock::Fairness::Unfair)
      : ArrayBlockingQueue(capacity, std::move(name), fairness) {
    this->put_all(std::forward<Range>(elements));
  }

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;

  void put(T element) override {
    if (!offer(std::move(element), Deadline::never()))
      throw RejectedError("put() on a closed ArrayBlockingQueue");
  }

  bool offer(T&& element, Deadline deadline) override {
    const std::lock_guard guard{lock_};
    const auto may_go_on = [this] { return count() < slots_.size() || is_closed(); };
    if (!may_go_on() && (deadline.expired() || !not_full_.await(may_go_on, deadline))) return false;
    if (is_closed()) return false;
    slot(count()).emplace(std::move(element));
    count_.store(count() + 1, std::memory_order_relaxed);
    not_empty_.signal();
    return true;
  }

  std::optional<T> poll(Deadline deadline) override {
    const std::lock_guard guard{lock_};
    const auto may_go_on = [this] { return count() > 0 || is_closed(); };
    if (!may_go_on() && (deadline.expired() || !not_empty_.await(may_go_on, deadline))) return std::nullopt;
    if (count() == 0) return std::nullopt;
    std::optional<T> element{std::in_place, std::move(*slots_[first_])};
    slots_[first_].reset();
    first_ = (first_ + 1) % slots_.size();
    count_.store(count() - 1, std::memory_order_relaxed);
    not_full_.signal();
    return element;
  }

  void close() noexcept override {
    const std::lock_guard guard{lock_};
    closed_.store(true, std::memory_order_relaxed);
    not_empty_.signal_all();
    not_full_.signal_all();
  }

  bool is_closed() const noexcept override { return closed_.load(std::memory_order_relaxed); }
  std::size_t size() const noexcept override { return count(); }
  std::size_t capacity() const noexcept override { return slots_.size(); }

 protected:
  using typename BlockingQueue<T>::Test;

  void visit(Test visitor) const override {
    const std::lock_guard guard{lock_};
    for (std::size_t i = 0; i < count() && visitor(*slots_[(first_ + i) % slots_.size()]); ++i) {
    }
  }

  std::size_t extract(Test matches, std::size_t limit) override {
    std::vector<T> removed;  // destroyed after the lock is free
    const std::lock_guard guard{lock_};
    const std::size_t before = count();
    std::vector<bool> goes(before);  // all are asked before any is moved: `matches` may throw
    std::size_t going = 0;
    for (std::size_t i = 0; i < before && going < limit; ++i) {
      goes[i] = matches(*slot(i));
      going += goes[i] ? 1 : 0;
    }
    removed.reserve(going);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < before; ++i) {
      if (goes[i]) {
        removed.push_back(std::move(*slot(i)));
        slot(i).reset();
        not_full_.signal();
      } else if (kept++ != i) {
        slot(kept - 1).emplace(std::move(*slot(i)));
        slot(i).reset();
      }
    }
    count_.store(kept, std::memory_order_relaxed);
    return going;
  }

 private:
  static constexpr const char* kType = "creel::ArrayBlockingQueue";
  std::optional<T>& slot(std::size_t index) noexcept { return slots_[(first_ + index) % slots_.size()]; }
  std::size_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

  std::vector<std::optional<T>> slots_;
  std::size_t first_ = 0;
  std::atomic<std::size_t> count_{0};  // written under the lock; size() reads it without
  std::atomic<bool> closed_{false};    // the same
  mutable ReentrantLock lock_;
  Condition not_empty_;
  Condition not_full_;
  const detail::QueueGauge gauge_;
};

}  // namespace creel
