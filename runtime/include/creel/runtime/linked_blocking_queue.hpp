#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/condition.hpp>
#include <creel/runtime/detail/queue_gauge.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <atomic>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace creel {

/// A BlockingQueue of linked nodes, by default without a bound. Putting and taking use a lock each and meet
/// only in the count, so that producers and consumers do not stand in each other's way.
///
/// Source: M. M. Michael and M. L. Scott, Simple, Fast, and Practical Non-Blocking and Blocking Concurrent
/// Queue Algorithms, PODC 1996, the two-lock queue.
template <typename T>
class LinkedBlockingQueue final : public BlockingQueue<T> {
 public:
  /// Throws Error if `capacity` is 0. The name stands in dumps.
  explicit LinkedBlockingQueue(std::size_t capacity = std::numeric_limits<std::size_t>::max(),
                               std::string name = {})
      : capacity_(capacity),
        head_(std::make_unique<Node>()),
        tail_(head_.get()),
        put_lock_(name),
        take_lock_(name),
        not_empty_(take_lock_, kType, name.empty() ? name : name + ", empty", this, this->users()),
        not_full_(put_lock_, kType, name.empty() ? name : name + ", full", this, this->users()),
        gauge_(name, *this) {
    if (capacity == 0) throw Error("the capacity of a LinkedBlockingQueue is 0; it must be at least 1");
  }

  explicit LinkedBlockingQueue(std::string name)
      : LinkedBlockingQueue(std::numeric_limits<std::size_t>::max(), std::move(name)) {}
  /// Begins with `elements`, without a bound.
  template <std::ranges::input_range Range>
  LinkedBlockingQueue(FromRange, Range&& elements, std::string name = {})
      : LinkedBlockingQueue(std::numeric_limits<std::size_t>::max(), std::move(name)) {
    this->put_all(std::forward<Range>(elements));
  }

  ~LinkedBlockingQueue() override {
    while (head_ != nullptr)
      head_ = std::move(head_->next);  // one by one: a long chain would overflow the stack
  }

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;

  void put(T element) override {
    if (!offer(std::move(element), Deadline::never()))
      throw RejectedError("put() on a closed LinkedBlockingQueue");
  }

  bool offer(T&& element, Deadline deadline) override {
    std::size_t before = 0;
    {
      const std::lock_guard guard{put_lock_};
      const auto may_go_on = [this] { return size() < capacity_ || is_closed(); };
      if (!may_go_on() && (deadline.expired() || !not_full_.await(may_go_on, deadline))) return false;
      if (is_closed()) return false;
      auto node = std::make_unique<Node>();
      node->element.emplace(std::move(element));
      Node* last = node.get();
      tail_->next = std::move(node);
      tail_ = last;
      before = count_.fetch_add(1, std::memory_order_acq_rel);  // release: publishes the node to the takers
      if (before + 1 < capacity_) not_full_.signal();           // there is room for one more of us
    }
    if (before == 0) {
      const std::lock_guard guard{take_lock_};
      not_empty_.signal();
    }
    return true;
  }

  std::optional<T> poll(Deadline deadline) override {
    std::optional<T> element;
    std::size_t before = 0;
    std::unique_ptr<Node> old;
    {
      const std::lock_guard guard{take_lock_};
      const auto may_go_on = [this] { return size() > 0 || is_closed(); };
      if (!may_go_on() && (deadline.expired() || !not_empty_.await(may_go_on, deadline))) return std::nullopt;
      if (size() == 0) return std::nullopt;
      old = std::exchange(head_, std::move(head_->next));
      element.emplace(std::move(*head_->element));
      head_->element.reset();
      before = count_.fetch_sub(1, std::memory_order_acq_rel);
      if (before > 1) not_empty_.signal();  // there is another one
    }
    if (before == capacity_) {
      const std::lock_guard guard{put_lock_};
      not_full_.signal();
    }
    return element;
  }

  void close() noexcept override {
    const std::scoped_lock guard{put_lock_, take_lock_};
    closed_.store(true, std::memory_order_relaxed);
    not_empty_.signal_all();
    not_full_.signal_all();
  }

  bool is_closed() const noexcept override { return closed_.load(std::memory_order_relaxed); }
  /// acquire: a taker that counts an element sees its node.
  std::size_t size() const noexcept override { return count_.load(std::memory_order_acquire); }
  std::size_t capacity() const noexcept override { return capacity_; }

 protected:
  using typename BlockingQueue<T>::Test;

  void visit(Test visitor) const override {
    const std::scoped_lock guard{put_lock_, take_lock_};
    for (const Node* node = head_->next.get(); node != nullptr && visitor(*node->element);) {
      node = node->next.get();
    }
  }

  std::size_t extract(Test matches, std::size_t limit) override {
    std::vector<std::unique_ptr<Node>> removed;  // destroyed after the locks are free
    const std::scoped_lock guard{put_lock_, take_lock_};
    Node* before = head_.get();
    while (before->next != nullptr && removed.size() < limit) {
      if (!matches(*before->next->element)) {
        before = before->next.get();
        continue;
      }
      removed.push_back(std::move(before->next));
      before->next = std::move(removed.back()->next);
      if (before->next == nullptr) tail_ = before;
      if (count_.fetch_sub(1, std::memory_order_acq_rel) == capacity_) not_full_.signal();
    }
    return removed.size();
  }

 private:
  static constexpr const char* kType = "creel::LinkedBlockingQueue";
  struct Node {
    std::optional<T> element;
    std::unique_ptr<Node> next;
  };

  const std::size_t capacity_;
  alignas(64) std::atomic<std::size_t> count_{0};
  std::atomic<bool> closed_{false};
  alignas(64) std::unique_ptr<Node> head_;  // an empty node in front of the first element; under take_lock_
  alignas(64) Node* tail_;                  // under put_lock_
  mutable ReentrantLock put_lock_;
  mutable ReentrantLock take_lock_;
  Condition not_empty_;
  Condition not_full_;
  const detail::QueueGauge gauge_;
};

}  // namespace creel
