#pragma once

#include "asymmetric_fence.hpp"
#include "carrier.hpp"
#include "foreign_threads.hpp"

#include <creel/runtime/pinning.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace creel::detail {

class VirtualScheduler;

/// Notices virtual threads that wait in the kernel together with their carrier, and has another carrier stand
/// in: see creel/runtime/pinning.hpp. One daemon thread, which sleeps while all carriers are idle.
class PinWatch {
 public:
  explicit PinWatch(VirtualScheduler& scheduler);

  void start() noexcept;

  /// A carrier is not idle any more. The carrier's own call, after it has left the idle ones.
  void notice() noexcept {
    asymmetric_light_fence();  // run() has its counterpart
    if (ThreadRecord* sleeper = sleeper_.load(std::memory_order_acquire)) wake(*sleeper);
  }

  struct Pin {
    std::uint64_t thread = 0;   // the virtual thread's id
    std::int64_t since_ns = 0;  // CLOCK_MONOTONIC
    std::string reason;         // of its PinnedScope; empty: a foreign wait
  };
  /// Who is pinned at this moment.
  std::vector<Pin> pins() const;

 private:
  static constexpr std::size_t kMostStandIns = 256;
  static constexpr std::size_t kMostPlaces = 1000;

  // What was seen of a carrier when it was looked at last.
  struct Seen {
    std::uint64_t thread = 0;    // whom it ran; 0: nobody
    std::uint32_t tick = 0;      // which turn that was
    std::uint64_t switches = 0;  // the kernel's count of the wait it was in; 0: it was in none
    std::int64_t since_ns = 0;   // of that wait
    bool pinned = false, stands_in = false;
  };

  void run();
  static void wake(ThreadRecord& sleeper) noexcept;
  void look(Seen& seen, const Carrier& carrier);
  void begin(Seen& seen, const ThreadRecord& record, const Carrier& carrier, const BlockedCall& call,
             std::int64_t now_ns);
  void end(Seen& seen, std::int64_t now_ns) noexcept;
  void tell(const PinnedThread& pinned);

  VirtualScheduler& scheduler_;
  const std::chrono::nanoseconds threshold_, period_;
  std::atomic<ThreadRecord*> sleeper_{nullptr};  // the watch's own thread, while it sleeps
  // The watch's own:
  std::vector<Seen> seen_;  // by the carriers' index
  std::size_t stand_ins_ = 0;
  bool told_of_limit_ = false;
  std::set<std::vector<const StackFrame*>> told_;  // places that the log has named
  // For others:
  mutable std::mutex lock_;
  std::vector<Pin> pins_;
};

}  // namespace creel::detail
