#pragma once

#include <creel/runtime/deadline.hpp>

#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

namespace creel {

/// A queue between threads: java.util.concurrent.BlockingQueue, with an end. After close() nothing more goes
/// in; takers get what is left and then nullopt.
///
///     creel::ArrayBlockingQueue<Job> jobs{64, "jobs"};
///     producer: jobs.put(job); … jobs.close();
///     consumer: for (Job& job : jobs) run(job);      // ends when closed and empty
///
/// Blocking calls honour Deadline and interrupt (InterruptedError); on virtual threads they free the carrier.
/// Memory effects: what a thread did before putting an element happens before what another does after taking
/// it.
template <typename T>
class BlockingQueue {
 public:
  virtual ~BlockingQueue() = default;

  /// Waits for room and appends. Throws RejectedError if the queue is closed, before or while it waits.
  virtual void put(T element) = 0;
  /// Appends if there is room before `deadline` (by default: now). False if not, or if the queue is closed;
  /// `element` is then untouched.
  virtual bool offer(T&& element, Deadline deadline) = 0;
  bool offer(T&& element) { return offer(std::move(element), Deadline::now()); }
  bool offer(const T& element, Deadline deadline = Deadline::now()) {
    T copy = element;
    return offer(std::move(copy), deadline);
  }

  /// Waits for an element; nullopt once the queue is closed and empty.
  std::optional<T> take() { return poll(Deadline::never()); }
  /// The next element if one comes before `deadline` (by default: now); nullopt if none did, or never will.
  virtual std::optional<T> poll(Deadline deadline) = 0;
  std::optional<T> poll() { return poll(Deadline::now()); }
  /// Moves at most `limit` elements that are there to `out`; returns how many.
  template <typename OutputIterator>
  std::size_t drain_to(OutputIterator out, std::size_t limit = static_cast<std::size_t>(-1)) {
    std::size_t count = 0;
    for (; count < limit; ++count) {
      std::optional<T> element = poll();
      if (!element) break;
      *out++ = std::move(*element);
    }
    return count;
  }

  /// Nothing more goes in; everybody who waits is woken. May be called again.
  virtual void close() noexcept = 0;
  virtual bool is_closed() const noexcept = 0;

  virtual std::size_t size() const noexcept = 0;
  virtual std::size_t capacity() const noexcept = 0;
  bool empty() const noexcept { return size() == 0; }
  std::size_t remaining_capacity() const noexcept { return capacity() - size(); }

  /// Takes elements until the queue is closed and empty. Several threads may iterate at once: each element
  /// goes to one.
  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    explicit Iterator(BlockingQueue& queue) : queue_(&queue), element_(queue.take()) {}
    T& operator*() const noexcept { return *element_; }
    T* operator->() const noexcept { return &*element_; }
    Iterator& operator++() {
      element_ = queue_->take();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept { return !it.element_; }

   private:
    BlockingQueue* queue_ = nullptr;
    mutable std::optional<T> element_;
  };
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }
};

}  // namespace creel
