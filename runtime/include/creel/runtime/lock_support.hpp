#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/thread.hpp>

#include <atomic>
#include <cstdint>

namespace creel {

/// What a thread waits for, as a dump shows it. The pointers must stay good while the thread waits; they
/// usually point into the lock or channel itself.
struct Blocker {
  const void* object = nullptr;                       ///< identity, `<0x…>`
  const char* type = nullptr;                         ///< static string, "creel::ReentrantLock"
  const char* name = nullptr;                         ///< "decode -> collate, empty"; nullptr: none
  const std::atomic<std::uint64_t>* owner = nullptr;  ///< id of the thread that holds it; nullptr: nobody can
  WaitKind kind = WaitKind::Parking;
};

/// The primitive under every wait of creel: java.util.concurrent.locks.LockSupport.
class LockSupport {
 public:
  /// Blocks until unpark(this thread), interrupt() or `deadline`, or spuriously; returns at once if a permit
  /// is there. Does not throw and does not clear the interrupt flag. A virtual thread frees its carrier.
  static void park(const Blocker& blocker, Deadline deadline = {}) noexcept;

  /// Gives `thread` its permit, waking it if it is parked. At most one permit is kept.
  /// Memory effects: what happens before unpark() happens before the matching park() returns.
  static void unpark(const Thread& thread) noexcept;
  static void unpark(detail::ThreadRecord& record) noexcept;

  enum class Wake : std::uint8_t { Changed, TimedOut, Interrupted };
  enum class Scope : std::uint8_t {
    Process,
    Shared
  };  ///< Shared: the word lies in memory shared with other processes

  /// Blocks the calling platform thread while `word == expected`, by futex, published for dumps like park().
  /// For words that other processes or foreign code wake; interrupt() is seen within 50 ms. Wake-ups may be
  /// spurious.
  static Wake wait_on(const std::atomic<std::uint32_t>& word, std::uint32_t expected, const Blocker& blocker,
                      Deadline deadline = {}, Scope scope = Scope::Process) noexcept;
  /// Wakes up to `count` threads that wait on `word`.
  static void wake(const std::atomic<std::uint32_t>& word, int count, Scope scope = Scope::Process) noexcept;
};

/// Runs `body`, a foreign call that blocks (file I/O, waitpid, another library), with the wait published
/// under `what` and, on a virtual thread, with its carrier compensated. Returns what `body` returns.
template <typename Body>
decltype(auto) blocking(const char* what, Body&& body);

}  // namespace creel
