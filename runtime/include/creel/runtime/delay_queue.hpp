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

/// When an element of a DelayQueue is due, by default: what its `deadline()` says; for pointers, that of what
/// they point to.
struct DeadlineOf {
  template <typename T>
  requires requires(const T& element) {
    { element.deadline() } -> std::convertible_to<Deadline>;
  }
  Deadline operator()(const T& element) const { return element.deadline(); }
  template <typename Pointer>
  requires requires(const Pointer& pointer) {
    { pointer->deadline() } -> std::convertible_to<Deadline>;
  }
  Deadline operator()(const Pointer& pointer) const { return pointer->deadline(); }
};

/// A BlockingQueue without a bound whose elements come out when they are due, the earliest first;
/// java.util.concurrent.DelayQueue.
///
///     struct Retry {
///       creel::Deadline when;
///       Request request;
///       creel::Deadline deadline() const { return when; }
///     };
///     creel::DelayQueue<Retry> retries{"retries"};
///     retries.put({100ms, request});
///     for (Retry& retry : retries) send(retry.request);  // not before 100 ms are over
///
/// `Projection(element)` gives the Deadline; it must stay the same while the element is queued, and may not
/// throw. take() and poll() see due elements only; size(), peek(), remove() and the like see all of them.
/// After close() the elements that are left still come out when they are due (clear() drops them), and only
/// then takers get nullopt. put() and offer() never wait.
///
/// Of the threads that wait one sleeps until the next element is due, the others until it has left: an
/// element that becomes due wakes one thread. (The leader–follower pattern: D. C. Schmidt et al.,
/// Pattern-Oriented Software Architecture 2, 2000.)
template <typename T, typename Projection = DeadlineOf>
requires std::is_invocable_r_v<Deadline, const Projection&, const T&>
class DelayQueue final : public BlockingQueue<T> {
 public:
  /// The name stands in dumps; it may be empty.
  explicit DelayQueue(std::string name = {}, Projection projection = {})
      : projection_(std::move(projection)),
        lock_(name),
        leading_(lock_, kType, name.empty() ? name : name + ", none due", this, this->users()),
        following_(lock_, kType, name.empty() ? name : name + ", none due", this, this->users()),
        gauge_(name, *this) {}

  /// Begins with `elements`.
  template <std::ranges::input_range Range>
  DelayQueue(FromRange, Range&& elements, std::string name = {}, Projection projection = {})
      : DelayQueue(std::move(name), std::move(projection)) {
    this->put_all(std::forward<Range>(elements));
  }

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;

  void put(T element) override {
    if (!offer(std::move(element), Deadline::never())) throw RejectedError("put() on a closed DelayQueue");
  }

  bool offer(T&& element, Deadline /*there is always room*/) override {
    const Deadline when = projection_(element);
    const std::lock_guard guard{lock_};
    if (is_closed()) return false;
    const bool is_next = heap_.empty() || when < heap_.front().when;
    heap_.push_back(Entry{when, std::move(element)});
    std::push_heap(heap_.begin(), heap_.end(), is_later);
    count_.store(heap_.size(), std::memory_order_relaxed);
    if (is_next) (has_leader_ ? leading_ : following_).signal();  // the leader would sleep too long
    return true;
  }

  std::optional<T> poll(Deadline deadline) override {
    const std::lock_guard guard{lock_};
    for (;;) {
      const bool is_due = !heap_.empty() && heap_.front().when.expired();
      if (is_due) return take_first();
      if ((heap_.empty() && is_closed()) || deadline.expired()) {
        call_leader();  // we may have been called ourselves just as our deadline passed
        return std::nullopt;
      }
      if (heap_.empty() || has_leader_) {
        following_.await(deadline);
      } else {
        lead(deadline);
      }
    }
  }

  void close() noexcept override {
    const std::lock_guard guard{lock_};
    closed_.store(true, std::memory_order_relaxed);
    wake_all();
  }

  bool is_closed() const noexcept override { return closed_.load(std::memory_order_relaxed); }
  std::size_t size() const noexcept override { return count_.load(std::memory_order_relaxed); }
  std::size_t capacity() const noexcept override { return std::numeric_limits<std::size_t>::max(); }

 protected:
  using typename BlockingQueue<T>::Test;

  void visit(Test visitor) const override {
    const std::lock_guard guard{lock_};
    for (const Entry& entry : heap_) {
      if (!visitor(entry.element)) return;
    }
  }

  std::size_t extract(Test matches, std::size_t limit) override {
    std::vector<Entry> removed;  // destroyed after the lock is free
    const std::lock_guard guard{lock_};
    removed =
        detail::extract_matching(heap_, limit, [&](const Entry& entry) { return matches(entry.element); });
    std::make_heap(heap_.begin(), heap_.end(), is_later);
    count_.store(heap_.size(), std::memory_order_relaxed);
    if (heap_.empty() && is_closed()) wake_all();  // nothing will come any more
    return removed.size();  // a leader whose element left wakes up early, and looks again
  }

 private:
  static constexpr const char* kType = "creel::DelayQueue";
  struct Entry {
    Deadline when;
    T element;
  };
  static bool is_later(const Entry& a, const Entry& b) noexcept { return b.when < a.when; }

  // Waits until the first element is due or changes, or the caller's deadline passes.
  void lead(Deadline deadline) {
    has_leader_ = true;
    try {
      leading_.await(std::min(deadline, heap_.front().when));
    } catch (...) {  // interrupted
      has_leader_ = false;
      call_leader();
      throw;
    }
    has_leader_ = false;
  }

  void wake_all() {
    leading_.signal_all();
    following_.signal_all();
  }

  // Wakes a thread that takes the lead if there is something to wait for and nobody does.
  void call_leader() {
    if (!heap_.empty() && !has_leader_) following_.signal();
  }

  std::optional<T> take_first() {
    std::pop_heap(heap_.begin(), heap_.end(), is_later);
    std::optional<T> first{std::move(heap_.back().element)};
    heap_.pop_back();
    count_.store(heap_.size(), std::memory_order_relaxed);
    if (heap_.empty() && is_closed()) {
      wake_all();  // nothing will come any more
    } else {
      call_leader();
    }
    return first;
  }

  const Projection projection_;
  std::vector<Entry> heap_;
  bool has_leader_ = false;            // somebody waits until the first element is due
  std::atomic<std::size_t> count_{0};  // written under the lock; size() reads it without
  std::atomic<bool> closed_{false};    // the same
  mutable ReentrantLock lock_;
  Condition leading_;
  Condition following_;
  const detail::QueueGauge gauge_;
};

}  // namespace creel
