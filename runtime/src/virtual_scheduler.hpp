#pragma once

#include "carrier_queue.hpp"
#include "virtual_thread.hpp"
#include "virtual_timer.hpp"

#include <creel/runtime/thread_container.hpp>

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

namespace creel::detail {

class VirtualScheduler;

/// A platform thread that runs virtual threads, one after the other.
struct Carrier {
  explicit Carrier(VirtualScheduler& its_scheduler, std::uint32_t its_index) noexcept
      : scheduler(its_scheduler), index(its_index) {}

  VirtualScheduler& scheduler;
  const std::uint32_t index;
  CarrierQueue queue;
  SwitchPoint point;               // its own stack
  ThreadRecord* record = nullptr;  // its own record, good from its start on
  std::uint32_t tick = 0;
  bool searching = false;  // counted in VirtualScheduler::searching_; the carrier's own, or its waker's
  std::atomic<bool> is_woken{false};  // somebody took it off the list of idle or spare carriers
};

/// Spreads virtual threads over carriers: a queue per carrier, stealing between them, one shared queue for
/// what comes from elsewhere.
///
/// Carriers that find nothing look around for a short while (at most one of them at a time is woken to do
/// so), then park. A carrier that blocks in foreign code is replaced by a spare one, and the surplus retires
/// when it comes back.
class VirtualScheduler {
 public:
  static VirtualScheduler& instance();

  /// Makes a runnable thread run, some time. From any thread.
  void submit(VirtualThread& thread) noexcept;
  void carrier_blocks();
  void carrier_unblocks() noexcept;
  VirtualTimer& timer() noexcept { return timer_; }

  /// What a carrier does, until the process ends.
  void run(Carrier& self) noexcept;

 private:
  static constexpr std::uint32_t kMostCarriers = 512;

  VirtualScheduler();
  void start_carrier();  // with idle_lock_ held
  VirtualThread& next(Carrier& self) noexcept;
  VirtualThread* find_runnable(Carrier& self) noexcept;
  VirtualThread* take_shared(Carrier& self) noexcept;
  VirtualThread* steal(Carrier& self) noexcept;
  bool has_work() const noexcept;
  void wait_idle(Carrier& self) noexcept;
  void retire_if_surplus(Carrier& self) noexcept;
  void stop_searching(Carrier& self) noexcept;
  void push_shared(VirtualThread& thread) noexcept;
  void signal_work() noexcept;
  void submit_again(Carrier& self, VirtualThread& thread) noexcept;
  void run_one(Carrier& self, VirtualThread& thread) noexcept;
  void begin(Carrier& self, VirtualThread& thread) noexcept;

  const std::uint32_t parallelism_;
  VirtualTimer timer_;
  std::shared_ptr<ThreadContainer> container_;

  alignas(64) std::mutex shared_lock_;
  VirtualThread* shared_head_ = nullptr;
  VirtualThread* shared_tail_ = nullptr;
  std::atomic<std::size_t> shared_size_{0};

  alignas(64) std::atomic<std::uint32_t> idle_count_{0};
  std::atomic<std::uint32_t> searching_{0};
  std::atomic<std::uint32_t> available_{0};  // carriers that are neither blocked nor spare
  std::mutex idle_lock_;                     // guards what follows
  std::vector<Carrier*> idle_;
  std::vector<Carrier*> spare_;
  std::atomic<std::uint32_t> carrier_count_{0};                  // slots that are set
  std::array<std::atomic<Carrier*>, kMostCarriers> carriers_{};  // read without the lock
};

}  // namespace creel::detail
