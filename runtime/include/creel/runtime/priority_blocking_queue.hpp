#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/condition.hpp>
#include <creel/runtime/detail/extract_matching.hpp>
#include <creel/runtime/detail/queue_gauge.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <functional>
#include <limits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace creel {

/// A BlockingQueue without a bound that gives out its least element first;
/// java.util.concurrent.PriorityBlockingQueue.
///
///     creel::PriorityBlockingQueue<Job, ByUrgency> jobs{"jobs"};
///     jobs.put(job);                                   // never waits
///     while (std::optional<Job> job = jobs.take()) …   // the most urgent one
///
/// `Compare(a, b)` is true if a comes before b (std::priority_queue has it the other way round); it may not
/// throw. Equal elements come in no particular order: give them a sequence number if they must not. Putting
/// and taking cost O(log n) under one lock. put() and offer() never wait; they fail only if the queue is
/// closed. Elements need move assignment.
template <typename T, typename Compare = std::less<T>>
requires std::strict_weak_order<const Compare&, const T&, const T&>
class PriorityBlockingQueue final : public BlockingQueue<T> {
 public:
  /// The name stands in dumps; it may be empty.
  explicit PriorityBlockingQueue(std::string name = {}, Compare compare = {})
      : compare_(std::move(compare)),
        lock_(name),
        not_empty_(lock_, kType, name.empty() ? name : name + ", empty", this, this->users()),
        gauge_(name, *this) {}

  /// Begins with `elements`.
  template <std::ranges::input_range Range>
  PriorityBlockingQueue(FromRange, Range&& elements, std::string name = {}, Compare compare = {})
      : PriorityBlockingQueue(std::move(name), std::move(compare)) {
    this->put_all(std::forward<Range>(elements));
  }

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;

  void put(T element) override {
    if (!offer(std::move(element), Deadline::never()))
      throw RejectedError("put() on a closed PriorityBlockingQueue");
  }

  bool offer(T&& element, Deadline /*there is always room*/) override {
    const std::lock_guard guard{lock_};
    if (is_closed()) return false;
    heap_.push_back(std::move(element));
    std::push_heap(heap_.begin(), heap_.end(), after());
    count_.store(heap_.size(), std::memory_order_relaxed);
    not_empty_.signal();
    return true;
  }

  std::optional<T> poll(Deadline deadline) override {
    const std::lock_guard guard{lock_};
    const auto may_go_on = [this] { return !heap_.empty() || is_closed(); };
    if (!may_go_on() && (deadline.expired() || !not_empty_.await(may_go_on, deadline))) return std::nullopt;
    if (heap_.empty()) return std::nullopt;
    std::pop_heap(heap_.begin(), heap_.end(), after());
    std::optional<T> least{std::move(heap_.back())};
    heap_.pop_back();
    count_.store(heap_.size(), std::memory_order_relaxed);
    return least;
  }

  void close() noexcept override {
    const std::lock_guard guard{lock_};
    closed_.store(true, std::memory_order_relaxed);
    not_empty_.signal_all();
  }

  const Compare& comparator() const noexcept { return compare_; }
  bool is_closed() const noexcept override { return closed_.load(std::memory_order_relaxed); }
  std::size_t size() const noexcept override { return count_.load(std::memory_order_relaxed); }
  std::size_t capacity() const noexcept override { return std::numeric_limits<std::size_t>::max(); }

 protected:
  using typename BlockingQueue<T>::Test;

  void visit(Test visitor) const override {
    const std::lock_guard guard{lock_};
    for (const T& element : heap_) {
      if (!visitor(element)) return;
    }
  }

  std::size_t extract(Test matches, std::size_t limit) override {
    std::vector<T> removed;  // destroyed after the lock is free
    const std::lock_guard guard{lock_};
    removed = detail::extract_matching(heap_, limit, matches);
    std::make_heap(heap_.begin(), heap_.end(), after());
    count_.store(heap_.size(), std::memory_order_relaxed);
    return removed.size();
  }

 private:
  static constexpr const char* kType = "creel::PriorityBlockingQueue";
  // The order of the standard library's heaps, which have their greatest element in front.
  auto after() const noexcept {
    return [this](const T& a, const T& b) { return compare_(b, a); };
  }

  const Compare compare_;
  std::vector<T> heap_;
  std::atomic<std::size_t> count_{0};  // written under the lock; size() reads it without
  std::atomic<bool> closed_{false};    // the same
  mutable ReentrantLock lock_;
  Condition not_empty_;
  const detail::QueueGauge gauge_;
};

}  // namespace creel
