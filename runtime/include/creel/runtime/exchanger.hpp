#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/spin_lock.hpp>
#include <creel/runtime/detail/wait_queue.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace creel {
namespace detail {

/// One side of an exchange that waits for the other; shared by both, since either may return first.
class ExchangeOffer {
 public:
  /// Waits until answered() was called.
  WaitOutcome await(const void* exchanger, const char* name, Deadline deadline, Interruptible interruptible);
  void answer() noexcept;

 private:
  std::atomic<bool> answered_{false};
  WaitQueue queue_;
};

[[noreturn]] void throw_not_exchanged(WaitOutcome outcome, const std::string& name);
bool take_interrupt_of_current_thread() noexcept;
void interrupt_current_thread() noexcept;

}  // namespace detail

/// Where two threads meet and swap; java.util.concurrent.Exchanger. Each gives an item and gets the other's.
///
///     creel::Exchanger<Buffer> swap{"buffers"};
///     filler:  Buffer buffer; for (;;) { fill(buffer);  buffer = swap.exchange(std::move(buffer)); }
///     drainer: Buffer buffer; for (;;) { buffer = swap.exchange(std::move(buffer)); drain(buffer); }
///
/// Any number of threads may use one exchanger; they pair up as they come. T must move without throwing.
/// Memory effects: what each did before exchange() happens before what the other does after it.
template <typename T>
requires(std::is_nothrow_move_constructible_v<T>&& std::is_nothrow_move_assignable_v<T>) class Exchanger {
 public:
  /// The name stands in dumps; it may be empty.
  explicit Exchanger(std::string name = {}) : name_(std::move(name)) {}
  Exchanger(const Exchanger&) = delete;
  Exchanger& operator=(const Exchanger&) = delete;

  /// Waits for another thread. Throws InterruptedError when interrupted before or while it waits, and
  /// TimeoutError when `deadline` passes; `item` is then what it was.
  T exchange(T&& item, Deadline deadline = {}) {
    if (detail::take_interrupt_of_current_thread()) {
      detail::throw_not_exchanged(detail::WaitOutcome::Interrupted, name_);
    }
    std::shared_ptr<Offer> mine = std::make_shared<Offer>();
    std::unique_lock guard{lock_};
    if (waiting_ != nullptr) {
      const std::shared_ptr<Offer> theirs = std::exchange(waiting_, nullptr);
      guard.unlock();
      T got = std::move(*theirs->item);
      theirs->item.emplace(std::move(item));
      theirs->meeting.answer();
      return got;
    }
    mine->item.emplace(std::move(item));
    waiting_ = mine;
    guard.unlock();
    return await_answer(*mine, item, deadline);
  }
  T exchange(const T& item, Deadline deadline = {}) { return exchange(T(item), deadline); }

 private:
  struct Offer {
    std::optional<T> item;  // ours, then theirs
    detail::ExchangeOffer meeting;
  };

  T await_answer(Offer& mine, T& item, Deadline deadline) {
    const char* const name = name_.empty() ? nullptr : name_.c_str();
    const detail::WaitOutcome outcome = mine.meeting.await(this, name, deadline, detail::Interruptible::Yes);
    if (outcome != detail::WaitOutcome::Met) {
      if (withdraw(mine)) {
        item = *std::move(mine.item);
        detail::throw_not_exchanged(outcome, name_);
      }
      // Somebody has taken it: the answer comes at once.
      mine.meeting.await(this, name, Deadline::never(), detail::Interruptible::No);
      if (outcome == detail::WaitOutcome::Interrupted) detail::interrupt_current_thread();
    }
    return *std::move(mine.item);
  }

  bool withdraw(const Offer& mine) noexcept {
    const std::lock_guard guard{lock_};
    if (waiting_.get() != &mine) return false;
    waiting_ = nullptr;
    return true;
  }

  const std::string name_;
  detail::SpinLock lock_;
  std::shared_ptr<Offer> waiting_;  // whoever came first
};

}  // namespace creel
