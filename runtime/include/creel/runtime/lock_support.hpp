#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/thread.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>

namespace creel {

class WakerSet;

/// What a thread waits for, as a dump shows it. The pointers must stay good while the thread waits; they
/// usually point into the lock or channel itself.
struct Blocker {
  const void* object = nullptr;  ///< identity, `<0x…>`
  const char* type = nullptr;    ///< static string, "creel::ReentrantLock"
  const char* name = nullptr;    ///< "decode -> collate, empty"; nullptr: none
  /// Id of the thread that holds it, 0 if nobody does; its highest bit is left out of account. nullptr:
  /// nobody can hold it.
  const std::atomic<std::uint64_t>* owner = nullptr;
  WaitKind kind = WaitKind::Parking;
  const WakerSet* wakers = nullptr;  ///< the threads of which any can end the wait; nullptr: not known
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

  /// Blocks the calling thread while `word == expected`, by futex, published for dumps like park(). For words
  /// that other processes or foreign code wake; interrupt() is seen within 50 ms, and its flag stays set. On
  /// a virtual thread its carrier blocks, and another one takes its place meanwhile.
  static Wake wait_on(const std::atomic<std::uint32_t>& word, std::uint32_t expected, const Blocker& blocker,
                      Deadline deadline = {}, Scope scope = Scope::Process) noexcept;
  /// Wakes up to `count` threads that wait on `word`.
  static void wake(const std::atomic<std::uint32_t>& word, int count, Scope scope = Scope::Process) noexcept;
};

namespace detail {
void run_blocking(const char* what, void (*body)(void*), void* argument);
}

/// Runs `body`, a foreign call that blocks (file I/O, waitpid, another library), with the wait published
/// under `what` (a static string): dumps show the thread as WAITING, `blocked in call "what"`. Returns what
/// `body` returns, throws what it throws.
///
///     const ssize_t got = creel::blocking("read of a file", [&] { return ::read(fd, buffer, size); });
///
/// On a virtual thread the carrier blocks, and another one takes its place meanwhile (up to 512 carriers in
/// all; beyond that other virtual threads have to wait). interrupt() does not end `body`: the flag stays set
/// for the thread's next wait. Waits of creel's own inside `body` are as anywhere else, and stand in dumps
/// for themselves.
template <typename Body>
std::invoke_result_t<Body&> blocking(const char* what, Body&& body) {
  using Callable = std::remove_reference_t<Body>;
  using Result = std::invoke_result_t<Body&>;
  if constexpr (std::is_void_v<Result>) {
    const auto call = [](void* callable) { std::invoke(*static_cast<Callable*>(callable)); };
    detail::run_blocking(what, call, const_cast<std::remove_const_t<Callable>*>(std::addressof(body)));
  } else if constexpr (std::is_reference_v<Result>) {
    std::remove_reference_t<Result>* result = nullptr;
    blocking(what, [&] { result = std::addressof(std::invoke(body)); });
    return static_cast<Result>(*result);
  } else {
    std::optional<Result> result;
    blocking(what, [&] { result.emplace(std::invoke(body)); });
    return *std::move(result);
  }
}

}  // namespace creel
