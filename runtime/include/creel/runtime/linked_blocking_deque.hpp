#pragma once

#include <creel/runtime/blocking_deque.hpp>
#include <creel/runtime/condition.hpp>
#include <creel/runtime/detail/queue_gauge.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <atomic>
#include <iterator>
#include <limits>
#include <list>
#include <mutex>
#include <string>
#include <utility>

namespace creel {

/// A BlockingDeque of linked nodes, by default without a bound; java.util.concurrent.LinkedBlockingDeque. One
/// lock guards both ends.
///
///     creel::LinkedBlockingDeque<Task> tasks{256, "tasks"};
///     tasks.put_first(task);                       // mine: last in, first out
///     std::optional<Task> robbed = victim.poll_last();
template <typename T>
class LinkedBlockingDeque final : public BlockingDeque<T> {
 public:
  /// Throws Error if `capacity` is 0. The name stands in dumps; it may be empty.
  explicit LinkedBlockingDeque(std::size_t capacity = std::numeric_limits<std::size_t>::max(),
                               std::string name = {})
      : capacity_(capacity),
        lock_(name),
        not_empty_(lock_, kType, name.empty() ? name : name + ", empty", this, this->users()),
        not_full_(lock_, kType, name.empty() ? name : name + ", full", this, this->users()),
        gauge_(name, *this) {
    if (capacity == 0) throw Error("the capacity of a LinkedBlockingDeque is 0; it must be at least 1");
  }

  explicit LinkedBlockingDeque(std::string name)
      : LinkedBlockingDeque(std::numeric_limits<std::size_t>::max(), std::move(name)) {}
  /// Begins with `elements`, without a bound.
  template <std::ranges::input_range Range>
  LinkedBlockingDeque(FromRange, Range&& elements, std::string name = {})
      : LinkedBlockingDeque(std::numeric_limits<std::size_t>::max(), std::move(name)) {
    this->put_all(std::forward<Range>(elements));
  }

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;
  using BlockingDeque<T>::offer_first;
  using BlockingDeque<T>::offer_last;
  using BlockingDeque<T>::poll_first;
  using BlockingDeque<T>::poll_last;

  void put(T element) override { put_last(std::move(element)); }
  void put_first(T element) override { require(insert(End::First, element, Deadline::never()), "put_first"); }
  void put_last(T element) override { require(insert(End::Last, element, Deadline::never()), "put_last"); }
  bool offer(T&& element, Deadline deadline) override { return insert(End::Last, element, deadline); }
  bool offer_first(T&& element, Deadline deadline) override { return insert(End::First, element, deadline); }
  bool offer_last(T&& element, Deadline deadline) override { return insert(End::Last, element, deadline); }
  std::optional<T> poll(Deadline deadline) override { return unlink(End::First, deadline); }
  std::optional<T> poll_first(Deadline deadline) override { return unlink(End::First, deadline); }
  std::optional<T> poll_last(Deadline deadline) override { return unlink(End::Last, deadline); }

  void close() noexcept override {
    const std::lock_guard guard{lock_};
    closed_.store(true, std::memory_order_relaxed);
    not_empty_.signal_all();
    not_full_.signal_all();
  }

  bool is_closed() const noexcept override { return closed_.load(std::memory_order_relaxed); }
  std::size_t size() const noexcept override { return count_.load(std::memory_order_relaxed); }
  std::size_t capacity() const noexcept override { return capacity_; }

 protected:
  using typename BlockingQueue<T>::Test;

  void visit(Test visitor) const override {
    const std::lock_guard guard{lock_};
    for (auto it = elements_.begin(); it != elements_.end() && visitor(*it); ++it) {
    }
  }
  void visit_descending(Test visitor) const override {
    const std::lock_guard guard{lock_};
    for (auto it = elements_.rbegin(); it != elements_.rend() && visitor(*it); ++it) {
    }
  }

  std::size_t extract(Test matches, std::size_t limit) override {
    std::list<T> removed;  // destroyed after the lock is free
    const std::lock_guard guard{lock_};
    for (auto it = elements_.begin(); it != elements_.end() && removed.size() < limit;) {
      const auto here = it++;
      if (matches(*here)) move_out(here, removed);
    }
    return removed.size();
  }
  std::size_t extract_descending(Test matches, std::size_t limit) override {
    std::list<T> removed;
    const std::lock_guard guard{lock_};
    for (auto it = elements_.end(); it != elements_.begin() && removed.size() < limit;) {
      const auto here = std::prev(it);
      if (matches(*here)) {
        move_out(here, removed);
      } else {
        it = here;
      }
    }
    return removed.size();
  }

 private:
  static constexpr const char* kType = "creel::LinkedBlockingDeque";
  enum class End : bool { First, Last };

  static void require(bool was_put, const char* call) {
    if (!was_put) throw RejectedError(std::string(call) + "() on a closed LinkedBlockingDeque");
  }

  bool insert(End end, T& element, Deadline deadline) {
    const std::lock_guard guard{lock_};
    const auto may_go_on = [this] { return elements_.size() < capacity_ || is_closed(); };
    if (!may_go_on() && (deadline.expired() || !not_full_.await(may_go_on, deadline))) return false;
    if (is_closed()) return false;
    elements_.insert(end == End::First ? elements_.begin() : elements_.end(), std::move(element));
    count_.store(elements_.size(), std::memory_order_relaxed);
    not_empty_.signal();
    return true;
  }

  std::optional<T> unlink(End end, Deadline deadline) {
    std::list<T> removed;  // its node is freed after the lock
    const std::lock_guard guard{lock_};
    const auto may_go_on = [this] { return !elements_.empty() || is_closed(); };
    if (!may_go_on() && (deadline.expired() || !not_empty_.await(may_go_on, deadline))) return std::nullopt;
    if (elements_.empty()) return std::nullopt;
    move_out(end == End::First ? elements_.begin() : std::prev(elements_.end()), removed);
    return std::optional<T>{std::move(removed.front())};
  }

  void move_out(typename std::list<T>::iterator element, std::list<T>& to) {
    to.splice(to.end(), elements_, element);
    count_.store(elements_.size(), std::memory_order_relaxed);
    not_full_.signal();
  }

  const std::size_t capacity_;
  std::list<T> elements_;
  std::atomic<std::size_t> count_{0};  // written under the lock; size() reads it without
  std::atomic<bool> closed_{false};    // the same
  mutable ReentrantLock lock_;
  Condition not_empty_;
  Condition not_full_;
  const detail::QueueGauge gauge_;
};

}  // namespace creel
