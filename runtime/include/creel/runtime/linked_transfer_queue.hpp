#pragma once

#include <creel/runtime/detail/hand_off.hpp>
#include <creel/runtime/detail/queue_gauge.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/transfer_queue.hpp>

#include <limits>
#include <optional>
#include <string>
#include <utility>

namespace creel {

/// A TransferQueue of linked nodes without a bound, first in, first out for elements, producers and consumers
/// alike; java.util.concurrent.LinkedTransferQueue. An element goes straight into the hands of a consumer who
/// waits.
///
///     creel::LinkedTransferQueue<Job> jobs{"jobs"};
///     jobs.put(job);                                        // never waits
///     jobs.transfer(last);                                  // returns when somebody has it
///     if (!jobs.try_transfer(job)) start_another_worker();  // nobody is idle
///
/// close() wakes all who wait: consumers get nullopt, transfer() takes its element back and throws
/// RejectedError; what put() left is still given out. Elements must not throw when they are moved. Memory
/// effects: those of BlockingQueue, and what the consumer did before its take happens before what a
/// transfer() that returned does next.
template <typename T>
class LinkedTransferQueue final : public TransferQueue<T> {
 public:
  /// The name stands in dumps; it may be empty.
  explicit LinkedTransferQueue(std::string name = {})
      : hand_off_("creel::LinkedTransferQueue", name, HandOff::Order::Fifo, this->users()),
        gauge_(name, *this) {}

  /// Begins with `elements`.
  template <std::ranges::input_range Range>
  LinkedTransferQueue(FromRange, Range&& elements, std::string name = {})
      : LinkedTransferQueue(std::move(name)) {
    this->put_all(std::forward<Range>(elements));
  }

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;
  using TransferQueue<T>::try_transfer;

  void put(T element) override {
    if (!hand_off_.leave(element)) throw RejectedError("put() on a closed LinkedTransferQueue");
  }
  bool offer(T&& element, Deadline /*there is always room*/) override { return hand_off_.leave(element); }
  std::optional<T> poll(Deadline deadline) override { return hand_off_.take(this, deadline); }

  void transfer(T element) override {
    if (!try_transfer(std::move(element), Deadline::never()))
      throw RejectedError("transfer() on a closed LinkedTransferQueue");
  }
  bool try_transfer(T&& element, Deadline deadline) override {
    return hand_off_.give(element, this, deadline) == HandOff::Outcome::Done;
  }

  std::size_t waiting_consumer_count() const noexcept override { return hand_off_.core().takers(); }
  void close() noexcept override { hand_off_.core().close(); }
  bool is_closed() const noexcept override { return hand_off_.core().is_closed(); }
  std::size_t size() const noexcept override { return hand_off_.core().givers(); }
  std::size_t capacity() const noexcept override { return std::numeric_limits<std::size_t>::max(); }

 protected:
  using typename BlockingQueue<T>::Test;
  void visit(Test visitor) const override { hand_off_.visit(visitor); }
  std::size_t extract(Test matches, std::size_t limit) override { return hand_off_.extract(matches, limit); }

 private:
  using HandOff = detail::HandOff<T>;
  HandOff hand_off_;
  const detail::QueueGauge gauge_;
};

}  // namespace creel
