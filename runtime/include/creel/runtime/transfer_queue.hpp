#pragma once

#include <creel/runtime/blocking_queue.hpp>

#include <cstddef>
#include <utility>

namespace creel {

/// A BlockingQueue whose producers may wait until a consumer has their element;
/// java.util.concurrent.TransferQueue. put() leaves an element and goes on, transfer() stays with it.
template <typename T>
class TransferQueue : public BlockingQueue<T> {
 public:
  /// Hands the element to a consumer and waits until one has it (remove() and clear() count as one). Throws
  /// RejectedError if the queue is closed, before or while it waits, and InterruptedError; the element is
  /// then not in the queue.
  virtual void transfer(T element) = 0;
  /// As transfer(), but until `deadline` (by default: only to a consumer who waits now). False if nobody took
  /// it, or the queue is closed; `element` is then as before, and not in the queue.
  virtual bool try_transfer(T&& element, Deadline deadline) = 0;
  bool try_transfer(T&& element) { return try_transfer(std::move(element), Deadline::now()); }
  bool try_transfer(const T& element, Deadline deadline = Deadline::now()) {
    T copy = element;
    return try_transfer(std::move(copy), deadline);
  }

  /// How many consumers wait in take() or poll() now, about: they come and go.
  virtual std::size_t waiting_consumer_count() const noexcept = 0;
  bool has_waiting_consumer() const noexcept { return waiting_consumer_count() > 0; }
};

}  // namespace creel
