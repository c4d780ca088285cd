#pragma once

#include "unwind_row.hpp"

#include <sys/types.h>
#include <ucontext.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <unordered_set>

namespace creel::detail {

/// What a running thread's signal handler brought back: its registers and a copy of its live stack.
struct ThreadSample {
  std::uint64_t record_id =
      0;  ///< of the creel thread that ran there (a carrier may run a virtual one); 0: foreign
  WalkRegisters registers;
  StackCopy stack;
  bool capped = false;                 ///< the stack is deeper than the copy
  std::chrono::nanoseconds stopped{};  ///< how long the handler held the thread up
};

/// All registers as they were when a signal came; for its handler.
WalkRegisters interrupted_registers(const ucontext_t& context) noexcept;

/// Takes the registers and stack of running threads by a real-time signal. The handler copies and returns: it
/// takes no lock, allocates nothing and waits for nothing, so that it may interrupt malloc, dlopen or a held
/// mutex. Nothing is installed before install(). All but the handler: guarded by the dump engine's lock.
class ThreadSampler {
 public:
  static constexpr std::size_t kStackBytes = 256 * 1024;
  static constexpr std::size_t kInFlight = 8;

  /// Installs the handler for `signal`, or for a free real-time signal if 0. Throws Error if none is free.
  void install(int signal);
  /// Gives the signal back to whom it belonged.
  void uninstall() noexcept;
  bool installed() const noexcept { return signal_ != 0; }
  int signal() const noexcept { return signal_; }

  /// Samples the threads, several at a time. Calls `taken(i, sample)` or `missed(i, why)` once for each
  /// tids[i] that has not ended meanwhile; the sample is good during the call only.
  void sample(std::span<const pid_t> tids, const std::function<void(std::size_t, const ThreadSample&)>& taken,
              const std::function<void(std::size_t, std::string)>& missed);

 private:
  struct Request;
  bool send(Request& request);
  bool await(Request& request, std::string& why);
  bool blocks_signal(pid_t tid, std::string& why) const;

  int signal_ = 0;
  std::uint32_t ticket_ = 0;
  std::unordered_set<pid_t> unanswered_;  // a signal is still pending there: do not queue another
};

}  // namespace creel::detail
