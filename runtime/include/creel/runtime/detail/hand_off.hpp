#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {
class WakerSet;
}

namespace creel::detail {

class ThreadRecord;

/// A place in a HandOff's line: somebody who waits to give or to take, or an element that was left there.
/// On the heap, not on the stack of the one who waits: see WaitNode.
struct HandOffNode {
  enum class State : std::uint8_t { Waiting, Done, Closed };

  explicit HandOffNode(bool gives) noexcept : is_data(gives) {}

  const bool is_data;
  bool is_linked = false;  // in the line; under the lock
  HandOffNode* previous = nullptr;
  HandOffNode* next = nullptr;
  std::shared_ptr<ThreadRecord> waiter;  // nullptr: nobody waits for the element to be taken
  std::atomic<State> state{State::Waiting};
};

/// The line of a HandOff, but for the elements: either only givers stand in it or only takers, since each
/// newcomer serves one of the others if there is one.
///
/// Source: W. N. Scherer III and M. L. Scott, Nonblocking Concurrent Data Structures with Condition
/// Synchronization, DISC 2004: the dual queue and the dual stack; here under a lock, since a node is freed by
/// the one who waited on it.
class HandOffCore {
 public:
  enum class Order : bool {
    Fifo,  ///< the one who waited longest is served
    Lifo,  ///< the one who came last: its data are still in the cache
  };
  enum class Outcome : std::uint8_t { Done, TimedOut, Closed };

  /// `users`, if they are known, are for the search for deadlocks.
  HandOffCore(const char* type, const std::string& name, Order order, const WakerSet* users = nullptr);
  ~HandOffCore();
  HandOffCore(const HandOffCore&) = delete;
  HandOffCore& operator=(const HandOffCore&) = delete;

  ReentrantLock& lock() const noexcept { return lock_; }
  Order order() const noexcept { return order_; }
  bool is_closed() const noexcept { return closed_.load(std::memory_order_relaxed); }
  std::size_t givers() const noexcept { return givers_.load(std::memory_order_relaxed); }
  std::size_t takers() const noexcept { return takers_.load(std::memory_order_relaxed); }
  /// The longest there; with the lock held.
  HandOffNode* head() const noexcept { return head_; }

  /// The one that is served next, taken out of the line; nullptr if none of that kind stands there. With the
  /// lock held. The caller moves the element and calls finish().
  HandOffNode* serve(bool data) noexcept;
  /// Puts `node` into the line, its caller as the one who waits if `waits`; with the lock held.
  void append(HandOffNode& node, bool waits) noexcept;
  void unlink(HandOffNode& node) noexcept;
  /// Lets the one who waits on `node` go on; the node may be gone afterwards.
  static void finish(HandOffNode& node) noexcept;
  /// Waits until `node`, which is in the line, is finished. Otherwise it is out of the line. Throws
  /// InterruptedError. `queue` is what dumps show.
  Outcome wait(HandOffNode& node, const void* queue, Deadline deadline);
  void close() noexcept;

 private:
  mutable ReentrantLock lock_;  // guards the line
  const char* type_;
  const Order order_;
  const WakerSet* const users_;
  const std::string no_giver_, no_taker_;  // for dumps
  HandOffNode* head_ = nullptr;
  HandOffNode* tail_ = nullptr;
  std::atomic<std::size_t> givers_{0}, takers_{0};  // written under the lock
  std::atomic<bool> closed_{false};
};

/// Where elements go from one thread to another, who meet there. SynchronousQueue and LinkedTransferQueue.
template <typename T>
class HandOff {
  static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T>,
                "an element that is handed over must not throw as it is moved: it could get lost");

 public:
  using Order = HandOffCore::Order;
  using Outcome = HandOffCore::Outcome;

  HandOff(const char* type, const std::string& name, Order order, const WakerSet* users = nullptr)
      : core_(type, name, order, users) {}
  ~HandOff() {
    while (HandOffNode* node = core_.serve(true)) delete static_cast<Node*>(node);
  }

  /// Hands `element` to a taker; waits for one until `deadline`. If it fails, `element` is as before.
  Outcome give(T& element, const void* queue, Deadline deadline) {
    std::unique_ptr<Node> node;
    {
      std::unique_lock guard{core_.lock()};
      if (core_.is_closed()) return Outcome::Closed;
      if (HandOffNode* taker = core_.serve(false)) {
        guard.unlock();
        return hand_to(*taker, element);
      }
      if (deadline.expired()) return Outcome::TimedOut;
      node = std::make_unique<Node>(true);
      node->element.emplace(std::move(element));
      core_.append(*node, true);
    }
    try {
      const Outcome outcome = core_.wait(*node, queue, deadline);
      if (outcome != Outcome::Done) element = std::move(*node->element);
      return outcome;
    } catch (...) {  // interrupted
      element = std::move(*node->element);
      throw;
    }
  }

  /// Hands `element` to a taker who waits, or leaves it here for the next one. False if closed.
  bool leave(T& element) {
    std::unique_lock guard{core_.lock()};
    if (core_.is_closed()) return false;
    if (HandOffNode* taker = core_.serve(false)) {
      guard.unlock();
      hand_to(*taker, element);
      return true;
    }
    auto node = std::make_unique<Node>(true);
    node->element.emplace(std::move(element));
    core_.append(*node.release(), false);
    return true;
  }

  /// The next element; waits for one until `deadline` or the close.
  std::optional<T> take(const void* queue, Deadline deadline) {
    std::unique_ptr<Node> node;
    {
      std::unique_lock guard{core_.lock()};
      if (HandOffNode* giver = core_.serve(true)) {
        guard.unlock();
        return take_from(*static_cast<Node*>(giver));
      }
      if (core_.is_closed() || deadline.expired()) return std::nullopt;
      node = std::make_unique<Node>(false);
      core_.append(*node, true);
    }
    if (core_.wait(*node, queue, deadline) != Outcome::Done) return std::nullopt;
    return std::move(node->element);
  }

  template <typename Visitor>
  void visit(Visitor visitor) const {
    const std::lock_guard guard{core_.lock()};
    for (const HandOffNode* node = core_.head(); node != nullptr && node->is_data; node = node->next) {
      if (!visitor(*static_cast<const Node*>(node)->element)) return;
    }
  }

  /// Takes out the first `limit` elements that match; for who waits on one of them it counts as taken.
  template <typename Matches>
  std::size_t extract(Matches matches, std::size_t limit) {
    std::vector<HandOffNode*> removed;
    {
      const std::lock_guard guard{core_.lock()};
      HandOffNode* node = core_.head();
      for (; node != nullptr && node->is_data && removed.size() < limit; node = node->next) {
        if (matches(*static_cast<const Node*>(node)->element)) removed.push_back(node);
      }
      for (HandOffNode* matching : removed) core_.unlink(*matching);
    }
    for (HandOffNode* node : removed) take_from(*static_cast<Node*>(node));
    return removed.size();
  }

  HandOffCore& core() noexcept { return core_; }
  const HandOffCore& core() const noexcept { return core_; }

 private:
  struct Node : HandOffNode {
    using HandOffNode::HandOffNode;
    std::optional<T> element;
  };

  static Outcome hand_to(HandOffNode& taker, T& element) noexcept {
    static_cast<Node&>(taker).element.emplace(std::move(element));
    HandOffCore::finish(taker);
    return Outcome::Done;
  }

  static std::optional<T> take_from(Node& giver) noexcept {
    std::optional<T> element = std::move(giver.element);
    if (giver.waiter != nullptr) {
      HandOffCore::finish(giver);
    } else {
      delete &giver;
    }
    return element;
  }

  HandOffCore core_;
};

}  // namespace creel::detail
