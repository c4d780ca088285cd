#pragma once

#include "carrier.hpp"
#include "pin_watch.hpp"
#include "stack_shortage.hpp"
#include "virtual_thread.hpp"
#include "virtual_timer.hpp"

#include <creel/runtime/detail/spin_lock.hpp>
#include <creel/runtime/thread_container.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace creel::detail {

/// Spreads virtual threads over carriers: a queue per carrier, stealing between them, one shared queue for
/// what comes from elsewhere.
///
/// A thread that parks or yields switches straight to the next in its carrier's queue; the carrier's own
/// stack is needed for what begins, what ends, and when there is nothing to do. A thread that wakes another
/// most often parks soon: the woken one runs next, on the same carrier, and nobody else is called for it.
///
/// Carriers that find nothing look around for a short while (at most one of them at a time is woken to do
/// so), then park; one of them looks every few milliseconds whether a woken thread stands behind one that
/// computes. A carrier that blocks in foreign code is replaced by a spare one, and the surplus retires when
/// it comes back.
class VirtualScheduler {
 public:
  static VirtualScheduler& instance();
  /// The same, if it has been needed yet; else null.
  static const VirtualScheduler* existing() noexcept;

  /// A new thread is to run. From any thread.
  void submit_new(VirtualThread& thread) noexcept;
  /// A thread that was parked is to run. From any thread.
  void submit_woken(VirtualThread& thread) noexcept;
  /// The calling virtual thread gives its carrier to the next.
  void leave(VirtualThread& self, VirtualThread::Next next) noexcept;
  /// Whether the calling carrier has nobody else to run.
  bool is_alone(const Carrier& self) const noexcept;
  /// The calling carrier is going to block in foreign code; it is back.
  void carrier_blocks();
  void carrier_unblocks() noexcept;
  /// The calling carrier is going to wait together with its virtual thread, which does not leave it; it is
  /// back.
  void pinned_wait_begins();
  void pinned_wait_ends() noexcept;
  VirtualTimer& timer() noexcept { return timer_; }
  const PinWatch& pin_watch() const noexcept { return pin_watch_; }
  /// The carrier in a slot below counts().carriers; null while it begins.
  const Carrier* carrier(std::size_t index) const noexcept;
  /// Whether all carriers sleep that are neither spare nor blocked, and none waits with its virtual thread.
  bool is_idle() const noexcept {
    return available_.load() <= idle_count_.load() && pinned_waits_.load() == 0;
  }

  struct Counts {
    std::uint32_t parallelism = 0, carriers = 0, available = 0;
  };
  Counts counts() const noexcept;

 private:
  static constexpr std::uint32_t kMostCarriers = 512;

  VirtualScheduler();
  void start_carrier();  // with idle_lock_ held
  void run(Carrier& self) noexcept;
  VirtualThread& next(Carrier& self) noexcept;
  VirtualThread* search(Carrier& self) noexcept;
  VirtualThread* pick(Carrier& self) noexcept;
  VirtualThread* take_shared(Carrier& self) noexcept;
  VirtualThread* steal(Carrier& self) noexcept;
  bool has_work() const noexcept;
  bool has_hand_over() const noexcept;
  bool is_surplus() const noexcept;
  VirtualThread* wait_idle(Carrier& self) noexcept;
  VirtualThread* stand_watch(Carrier& self) noexcept;
  bool leave_idle(Carrier& self) noexcept;
  void retire_if_surplus(Carrier& self) noexcept;
  void stop_searching(Carrier& self) noexcept;
  void push_shared(VirtualThread& thread) noexcept;
  void push(Carrier& self, VirtualThread& thread) noexcept;
  void signal_work() noexcept;
  void wake_a_carrier() noexcept;
  void wake_all_carriers() noexcept;
  void submit_again(Carrier& self, VirtualThread& thread) noexcept;
  void mount(Carrier& self, VirtualThread& thread) noexcept;
  void settle(Carrier& self) noexcept;
  void run_one(Carrier& self, VirtualThread& thread) noexcept;
  bool begin(Carrier& self, VirtualThread& thread) noexcept;
  void begin_later(Carrier& self, VirtualThread& thread, const std::exception& error) noexcept;
  void begin_waiting(Carrier& self, std::size_t bytes) noexcept;
  void give_kept_stacks_back(Carrier& self) noexcept;
  std::uint64_t stacks_in_use() const noexcept;
  bool are_stacks_kept() const noexcept;
  void finish(Carrier& self, VirtualThread& thread) noexcept;

  const std::uint32_t parallelism_;
  VirtualTimer timer_;
  PinWatch pin_watch_{*this};
  std::shared_ptr<ThreadContainer> container_;
  StackShortage shortage_;

  // The shared queue: who comes from elsewhere is pushed to inbox_, last first; who takes moves all of it to
  // the list, under the lock, in order.
  alignas(64) std::atomic<VirtualThread*> inbox_{nullptr};
  alignas(64) SpinLock shared_lock_;
  std::atomic<VirtualThread*> shared_head_{nullptr};
  std::size_t shared_size_ = 0;

  alignas(64) std::atomic<std::uint32_t> idle_count_{0};
  std::atomic<std::uint32_t> searching_{0};
  std::atomic<std::uint32_t> available_{0};  // carriers that are neither blocked nor spare
  std::atomic<std::uint32_t> pinned_waits_{0};
  std::atomic<bool> has_watch_{false};  // an idle carrier looks for hand-overs that do not happen
  std::mutex idle_lock_;                // guards what follows
  std::vector<Carrier*> idle_;
  std::vector<Carrier*> spare_;
  std::atomic<std::uint32_t> carrier_count_{0};                  // slots that are set
  std::array<std::atomic<Carrier*>, kMostCarriers> carriers_{};  // read without the lock
};

}  // namespace creel::detail
