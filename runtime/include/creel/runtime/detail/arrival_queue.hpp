#pragma once

#include <creel/runtime/future.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>

#include <memory>
#include <utility>

namespace creel::detail {

/// Futures in the order in which they end.
template <typename T>
class ArrivalQueue {
 public:
  using Queue = BlockingQueue<Future<T>>;

  explicit ArrivalQueue(std::shared_ptr<Queue> queue = std::make_shared<LinkedBlockingQueue<Future<T>>>())
      : queue_(std::move(queue)) {}
  /// `future` enters the queue when it has ended. Whoever ends it puts it there, so that the queue may be
  /// given up before.
  void expect(const Future<T>& future) {
    const WorkRef<Arrival> arrival(new Arrival(queue_));
    future.shared_state()->add_dependent(arrival->link, *arrival);
  }
  Queue& queue() const noexcept { return *queue_; }

 private:
  struct Arrival final : FutureCore {
    explicit Arrival(std::shared_ptr<Queue> ended) : queue(std::move(ended)) {}
    void source_ended(FutureCore& source, DependentLink&, Completions&) noexcept override {
      // A user's queue may be full or closed: then nobody gets it from there.
      queue->offer(Future<T>(HandleRef<FutureState<T>>(static_cast<FutureState<T>*>(&source))));
    }
    DependentLink link;
    std::shared_ptr<Queue> queue;
  };

  std::shared_ptr<Queue> queue_;
};

}  // namespace creel::detail
