#pragma once

#include "virtual_thread.hpp"

#include <mutex>
#include <vector>

namespace creel::detail {

/// Unparks virtual threads at their deadlines. One daemon thread over a heap that knows each thread's place,
/// so that a wait that ends early, as most do, takes its entry out again.
class VirtualTimer {
 public:
  void add(VirtualThread& thread, Deadline deadline);
  /// Afterwards the timer does not touch the thread any more.
  void remove(VirtualThread& thread) noexcept;

 private:
  static constexpr std::uint32_t kArity = 4;
  struct Entry {
    Deadline deadline;
    VirtualThread* thread;
  };
  void run() noexcept;
  void place(std::uint32_t index, Entry entry) noexcept;
  void sift_up(std::uint32_t index) noexcept;
  void sift_down(std::uint32_t index) noexcept;
  void erase(std::uint32_t index) noexcept;

  std::mutex lock_;
  std::vector<Entry> heap_;
  Thread thread_;
  bool started_ = false;
};

}  // namespace creel::detail
