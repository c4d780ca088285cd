#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/detail/hand_off.hpp>
#include <creel/runtime/error.hpp>

#include <optional>
#include <string>
#include <utility>

namespace creel {

/// A BlockingQueue without room: each put waits for a take and the other way round, and the element goes from
/// hand to hand; java.util.concurrent.SynchronousQueue.
///
///     creel::SynchronousQueue<Request> door{"door"};
///     door.put(request);                              // returns when somebody has it
///     if (!door.offer(request)) refuse(request);      // only if somebody waits for it now
///
/// A fair queue serves threads in the order in which they came; others serve the last one first, whose data
/// are still in the cache. Its size is always 0, and there is nothing to peek at, to find or to remove.
/// close() wakes all who wait: takers get nullopt, put() throws RejectedError. Elements must not throw when
/// they are moved. Memory effects: those of BlockingQueue, and what the taker did before its take happens
/// before what the putter does after its put.
template <typename T>
class SynchronousQueue final : public BlockingQueue<T> {
 public:
  enum class Fairness : bool { Unfair, Fair };

  /// The name stands in dumps; it may be empty.
  explicit SynchronousQueue(std::string name = {}, Fairness fairness = Fairness::Unfair)
      : hand_off_("creel::SynchronousQueue", name,
                  fairness == Fairness::Fair ? HandOff::Order::Fifo : HandOff::Order::Lifo, this->users()) {}

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;

  /// Waits until a taker has the element. Throws RejectedError if the queue is closed, before or while it
  /// waits.
  void put(T element) override {
    if (!offer(std::move(element), Deadline::never()))
      throw RejectedError("put() on a closed SynchronousQueue");
  }
  bool offer(T&& element, Deadline deadline) override {
    return hand_off_.give(element, this, deadline) == HandOff::Outcome::Done;
  }
  std::optional<T> poll(Deadline deadline) override { return hand_off_.take(this, deadline); }

  bool is_fair() const noexcept { return hand_off_.core().order() == HandOff::Order::Fifo; }
  void close() noexcept override { hand_off_.core().close(); }
  bool is_closed() const noexcept override { return hand_off_.core().is_closed(); }
  std::size_t size() const noexcept override { return 0; }
  std::size_t capacity() const noexcept override { return 0; }

 protected:
  using typename BlockingQueue<T>::Test;
  void visit(Test /*nothing is here*/) const override {}
  std::size_t extract(Test /*nothing is here*/, std::size_t) override { return 0; }

 private:
  using HandOff = detail::HandOff<T>;
  HandOff hand_off_;
};

}  // namespace creel
