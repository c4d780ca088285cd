#pragma once

#include <creel/runtime/blocking_queue.hpp>

#include <concepts>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace creel {

/// A BlockingQueue with two ends: java.util.concurrent.BlockingDeque. As a queue it puts at the last end and
/// takes from the first; a stack uses put_first() and take_first(); a worker that is robbed by others takes
/// from one end, and they from the other. close(), Deadline, interrupt and memory effects are
/// BlockingQueue's.
template <typename T>
class BlockingDeque : public BlockingQueue<T> {
 public:
  /// Waits for room. Throws RejectedError if the deque is closed, before or while it waits.
  virtual void put_first(T element) = 0;
  virtual void put_last(T element) = 0;

  /// Puts if there is room before `deadline` (by default: now). False if not, or if the deque is closed;
  /// `element` is then untouched.
  virtual bool offer_first(T&& element, Deadline deadline) = 0;
  virtual bool offer_last(T&& element, Deadline deadline) = 0;
  bool offer_first(T&& element) { return offer_first(std::move(element), Deadline::now()); }
  bool offer_last(T&& element) { return offer_last(std::move(element), Deadline::now()); }
  bool offer_first(const T& element, Deadline deadline = Deadline::now()) {
    T copy = element;
    return offer_first(std::move(copy), deadline);
  }
  bool offer_last(const T& element, Deadline deadline = Deadline::now()) {
    T copy = element;
    return offer_last(std::move(copy), deadline);
  }

  /// Waits for an element; nullopt once the deque is closed and empty.
  std::optional<T> take_first() { return poll_first(Deadline::never()); }
  std::optional<T> take_last() { return poll_last(Deadline::never()); }

  /// An element if one comes before `deadline` (by default: now); nullopt if none did, or never will.
  virtual std::optional<T> poll_first(Deadline deadline) = 0;
  virtual std::optional<T> poll_last(Deadline deadline) = 0;
  std::optional<T> poll_first() { return poll_first(Deadline::now()); }
  std::optional<T> poll_last() { return poll_last(Deadline::now()); }

  /// A copy of the element at that end, which stays; nullopt if there is none.
  std::optional<T> peek_first() const requires std::copy_constructible<T> { return this->peek(); }
  std::optional<T> peek_last() const requires std::copy_constructible<T> {
    std::optional<T> last;
    visit_descending([&](const T& element) {
      last.emplace(element);
      return false;
    });
    return last;
  }

  /// Removes the equal element that is nearest to that end; whether there was one.
  bool remove_first_occurrence(const T& unwanted) requires std::equality_comparable<T> {
    return this->remove(unwanted);
  }
  bool remove_last_occurrence(const T& unwanted) requires std::equality_comparable<T> {
    return extract_descending([&](const T& element) { return element == unwanted; }, 1) == 1;
  }

  /// As for_each() and snapshot(), from the last to the first.
  template <std::invocable<const T&> Function>
  void for_each_descending(Function function) const {
    visit_descending([&](const T& element) {
      std::invoke(function, element);
      return true;
    });
  }
  std::vector<T> snapshot_descending() const requires std::copy_constructible<T> {
    std::vector<T> elements;
    for_each_descending([&](const T& element) { elements.push_back(element); });
    return elements;
  }

 protected:
  using typename BlockingQueue<T>::Test;
  virtual void visit_descending(Test visitor) const = 0;
  virtual std::size_t extract_descending(Test matches, std::size_t limit) = 0;
};

}  // namespace creel
