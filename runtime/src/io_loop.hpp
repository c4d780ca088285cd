#pragma once

#include <creel/runtime/detail/spin_lock.hpp>
#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

namespace creel::detail {

/// What a thread wants to do with a descriptor.
enum class Ready : std::uint8_t { Read, Write };

/// What the loop knows of one descriptor. Watches are never freed, only used again: an event that the kernel
/// had already handed out when its descriptor was closed finds a watch, at worst another descriptor's, whose
/// threads then try once in vain.
struct Watch {
  /// Threads that found nothing to read (no room to write), and how often they were told to try again.
  struct Direction {
    std::atomic<std::uint64_t> events{0};
    WaitQueue waiters;

    void announce() noexcept {
      // release: who sees the new count sees why, a descriptor's being closed for one.
      waiters.change_and_wake_all([this] { events.fetch_add(1, std::memory_order_release); });
    }
  };

  Direction read;
  Direction write;
  SpinLock lock;                 // guards what follows
  std::uint32_t interest = 0;    // the EPOLL bits that the kernel knows of
  std::uint64_t generation = 0;  // of the loop that it was told by
  std::function<bool()> on_ready;
  Watch* next_free = nullptr;

  Direction& direction(Ready ready) noexcept { return ready == Ready::Read ? read : write; }
};

/// The one place that asks the kernel which descriptors are ready: a daemon thread, "creel-io", over an epoll
/// set. Each descriptor is registered once in its life, edge-triggered, when a thread first has to wait for
/// it; a wait then costs no system call (docs/decisions/0013).
///
/// After fork() the child has a loop of its own as soon as it waits; the parent's set is left alone.
class IoLoop {
 public:
  static IoLoop& instance() noexcept;

  Watch& take_watch();
  /// Gives it back; nobody may wait on it. Call before the descriptor is closed.
  void return_watch(Watch& watch, int fd) noexcept;

  /// Blocks the calling thread until the descriptor has had an event since `seen` was read from
  /// `watch.direction(ready).events`, or for no reason. Throws IoError if the kernel cannot watch it.
  WaitOutcome wait(Watch& watch, int fd, Ready ready, std::uint64_t seen, const Blocker& blocker,
                   Deadline deadline);

  /// Calls `on_ready` on the loop's thread at each event that makes `fd` readable, until it returns true; the
  /// loop then closes `fd`. It may be called without an event, may not block, and what it throws is logged.
  /// Throws IoError if the descriptor cannot be watched.
  void watch_until_done(UniqueFd fd, std::function<bool()> on_ready);

 private:
  IoLoop();
  void arm(Watch& watch, int fd, std::uint32_t interest);
  int ensure_running();  // the epoll set
  void run(int epoll) noexcept;
  static void dispatch(Watch& watch, std::uint32_t events) noexcept;
  static void call(Watch& watch) noexcept;

  std::mutex lock_;                           // guards what follows; a plain mutex: never held across a wait
  std::atomic<int> epoll_{-1};                // also read without the lock
  std::atomic<std::uint64_t> generation_{1};  // counts forks
  Watch* free_ = nullptr;
};

}  // namespace creel::detail
