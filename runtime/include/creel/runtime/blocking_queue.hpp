#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/function_ref.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/waker_set.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <limits>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {

/// Says that a queue begins with the elements of a range, as C++23's std::from_range does: move-only ones are
/// moved out of a temporary range.
///
///     creel::LinkedBlockingQueue<int> numbers{creel::from_range, std::vector{1, 2, 3}, "numbers"};
struct FromRange {
  explicit FromRange() = default;
};
inline constexpr FromRange from_range{};

/// A queue between threads: java.util.concurrent.BlockingQueue, with an end. After close() nothing more goes
/// in; takers get what is left and then nullopt.
///
///     creel::ArrayBlockingQueue<Job> jobs{64, "jobs"};
///     producer: jobs.put(job); … jobs.close();
///     consumer: for (Job& job : jobs) run(job);      // ends when closed and empty
///
/// Calls that wait honour Deadline and interrupt (InterruptedError, also if the thread was interrupted before
/// it had to wait); on virtual threads they free the carrier. Calls that need not wait, or may not because
/// their deadline has passed, leave the interrupt flag alone. Dumps show a waiting thread with the queue's
/// type, its name and what it lacks: `<0x…> (a creel::ArrayBlockingQueue "jobs, empty")`. The size of a queue
/// with a name, but for a SynchronousQueue's, is a counter, `creel.queue.jobs.size` (see Gauge).
///
/// What Java has for a failure (add, element, remove without an argument) is offer, peek and poll here: an
/// absence that is expected is an optional or a bool. Elements may be move-only, but for peek and snapshot.
/// Functions given to for_each and remove_if run under the queue's lock: short, and without using the queue.
///
/// Memory effects: what a thread did before putting an element happens before what another does after taking
/// or seeing it.
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
  /// Moves at most `limit` elements that are there to `out`; returns how many. Does not wait.
  template <typename OutputIterator>
  std::size_t drain_to(OutputIterator out, std::size_t limit = std::numeric_limits<std::size_t>::max()) {
    std::size_t count = 0;
    for (; count < limit; ++count) {
      std::optional<T> element = poll();
      if (!element) break;
      *out++ = std::move(*element);
    }
    return count;
  }

  /// A copy of the element that is next, which stays; nullopt if there is none.
  std::optional<T> peek() const requires std::copy_constructible<T> {
    std::optional<T> first;
    visit([&](const T& element) {
      first.emplace(element);
      return false;
    });
    return first;
  }
  /// Whether an equal element is there now.
  bool contains(const T& wanted) const requires std::equality_comparable<T> {
    bool found = false;
    visit([&](const T& element) { return !(found = element == wanted); });
    return found;
  }
  /// Removes one element that is equal, the first if there are several; whether there was one.
  bool remove(const T& unwanted) requires std::equality_comparable<T> {
    return extract([&](const T& element) { return element == unwanted; }, 1) == 1;
  }
  /// Removes all elements for which `predicate` is true, as one step; returns how many.
  template <std::predicate<const T&> Predicate>
  std::size_t remove_if(Predicate predicate) {
    return extract(std::move(predicate), std::numeric_limits<std::size_t>::max());
  }
  /// Removes all elements; a queue that was full has room again.
  void clear() {
    remove_if([](const T&) { return true; });
  }
  /// Calls `function` with each element as they are at one moment, the next one first (in a priority queue
  /// the rest follows in no particular order).
  template <std::invocable<const T&> Function>
  void for_each(Function function) const {
    visit([&](const T& element) {
      std::invoke(function, element);
      return true;
    });
  }
  /// Copies of the elements as they are at one moment, in the order of for_each(): Java's toArray().
  std::vector<T> snapshot() const requires std::copy_constructible<T> {
    std::vector<T> elements;
    for_each([&](const T& element) { elements.push_back(element); });
    return elements;
  }

  /// Declares all the threads that use the queue, to put, take, remove or close, so that a deadlock through
  /// it is found when every living one of them waits for ever: see WakerSet. Who is missing may make a wait
  /// look hopeless that it would have ended.
  ///
  ///     jobs.used_by(std::array{producer, consumer});     // once both have started
  void used_by(std::span<const Thread> threads) { users_.assign(threads); }

  /// Nothing more goes in; everybody who waits is woken. May be called again.
  virtual void close() noexcept = 0;
  virtual bool is_closed() const noexcept = 0;

  /// How many elements are there now, and how many may be; both for people and heuristics.
  virtual std::size_t size() const noexcept = 0;
  virtual std::size_t capacity() const noexcept = 0;
  bool empty() const noexcept { return size() == 0; }
  /// How many elements there is room for now; of a queue without a bound always the greatest std::size_t.
  std::size_t remaining_capacity() const noexcept {
    const std::size_t most = capacity();
    if (most == std::numeric_limits<std::size_t>::max()) return most;
    const std::size_t now = size();
    return most > now ? most - now : 0;
  }

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

 protected:
  /// For the constructors from a range. Throws Error if there is not room for all of them.
  template <std::ranges::input_range Range>
  void put_all(Range&& elements) {
    constexpr bool is_its_own =
        !std::is_lvalue_reference_v<Range> && !std::ranges::view<std::remove_cvref_t<Range>>;
    for (auto&& element : elements) {
      bool has_room = false;
      if constexpr (is_its_own) {
        has_room = offer(T(std::move(element)), Deadline::now());
      } else {
        has_room = offer(T(std::forward<decltype(element)>(element)), Deadline::now());
      }
      if (!has_room)
        throw Error("a queue with room for " + std::to_string(capacity()) + " was given more elements");
    }
  }

  using Test = detail::FunctionRef<bool(const T&)>;
  /// Calls `visitor` with the elements under the queue's lock, the next one first, until it returns false.
  virtual void visit(Test visitor) const = 0;
  /// Removes the first `limit` elements that match, under the queue's lock, and wakes those who waited for
  /// room; what was removed is destroyed after the lock is free. Returns how many.
  virtual std::size_t extract(Test matches, std::size_t limit) = 0;
  /// For the waits of the queue.
  const WakerSet* users() const noexcept { return &users_; }

 private:
  WakerSet users_;
};

}  // namespace creel
