#pragma once

#include <creel/runtime/deadlock.hpp>
#include <creel/runtime/stack_trace.hpp>
#include <creel/runtime/thread.hpp>

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace creel {

/// What a thread waits in and for.
struct WaitInfo {
  WaitKind kind = WaitKind::Parking;
  bool timed = false;  ///< it has a deadline
  double seconds = 0;  ///< so long already
  LockInfo on;
};

/// A lock that a thread holds.
struct HeldLockInfo {
  LockInfo lock;
  bool monitor = false;  ///< a Monitor; else an ownable synchronizer, which the JVM's tools list apart
  int depth = -1;        ///< index of the frame that took it; -1: not known
};

/// The memory of a thread's stack, a platform thread's native or a virtual one's own; bytes.
struct StackFigures {
  std::size_t reserved = 0;    ///< address space
  std::size_t committed = 0;   ///< of that in memory now
  std::size_t high_water = 0;  ///< as deep as it was ever used: by its users before, too, if it was reused
  std::size_t guard = 0;       ///< inaccessible memory below; 0: none, or the kernel's own gap below main's
};

/// A ScopedValue bound on a thread, as text.
struct ScopedValueInfo {
  std::string name;
  std::string value;
};

/// One thread at the moment of a dump; java.lang.management.ThreadInfo.
struct ThreadInfo {
  std::uint64_t id = 0;
  std::string name;
  ThreadState state = ThreadState::Runnable;
  pid_t os_tid = 0;  ///< 0 for a virtual thread that no carrier runs
  bool is_virtual = false;
  bool foreign = false;  ///< neither started nor adopted by creel
  bool daemon = false;
  int priority = 5;                    ///< 1 to 10
  int nice = 0;                        ///< the operating system's
  double cpu_ms = -1;                  ///< processor time used; -1: not known
  double elapsed_s = 0;                ///< since it started
  std::uintptr_t address = 0;          ///< of its record; 0 if foreign
  std::uintptr_t program_counter = 0;  ///< 0: not known
  std::uintptr_t stack_pointer = 0;
  std::uint64_t carrier = 0;    ///< of a mounted virtual thread: the carrier's id
  std::uint64_t carrying = 0;   ///< of a carrier: the virtual thread's id
  std::uint64_t container = 0;  ///< id of a ContainerInfo; 0 is the root
  double pinned_s = -1;         ///< of a pinned virtual thread (pinning.hpp): since when; else -1
  std::string pinned_by;        ///< the reason of its PinnedScope; empty: a foreign wait
  std::string activity;         ///< what creel::Activity says it works on
  std::vector<ScopedValueInfo> scoped_values;  ///< innermost first; the first few only
  std::optional<WaitInfo> wait;
  std::vector<HeldLockInfo> held;        ///< innermost last; the first few only
  std::uint32_t held_more = 0;           ///< how many more there are
  std::vector<const StackFrame*> stack;  ///< innermost first
  bool stack_cut = false;                ///< there are more frames than could be read
  std::string stack_missing;             ///< why there is no stack: "blocks signals"; empty if there is one
  std::uint64_t blocked_count = 0, waited_count = 0;
  double blocked_ms = 0;                      ///< waiting to enter monitors, in all
  std::optional<StackFigures> stack_figures;  ///< if DumpOptions asked for them
};

/// An executor or a scope that threads belong to.
struct ContainerInfo {
  std::uint64_t id = 0;
  std::string name;
  std::string_view type;
  std::uint64_t parent = 0;  ///< 0 is the root
  std::uint64_t owner = 0;   ///< id of the thread that made it
};

struct DumpOptions {
  /// Stop running threads for a few microseconds each to read their stacks. Needs a Diagnostics object;
  /// parked threads are always read without being stopped.
  bool sample_running = true;
  /// Look up how much memory each stack takes: a system call for each.
  bool stack_figures = false;
};

/// All threads of the process with their stacks, waits and locks, as a value: jstack from within.
///
///     if (!done.wait(5s)) std::cerr << creel::ThreadDump::take().to_text();
///
/// Parked threads are read where they are and not woken. A running one is interrupted by a signal for the
/// time it takes to copy its stack, a few microseconds, unless that would end its system call with EINTR
/// (poll, nanosleep …: it is read as it waits); symbols are looked up afterwards. Threads that creel
/// did not start are listed too. Every thread is consistent in itself, deadlocks are checked as a whole, but
/// threads are read one after the other.
class ThreadDump {
 public:
  static ThreadDump take(DumpOptions options = {});

  std::chrono::system_clock::time_point time() const noexcept { return time_; }
  pid_t pid() const noexcept { return pid_; }
  /// Ordered by id; virtual threads after the platform ones.
  const std::vector<ThreadInfo>& threads() const noexcept { return threads_; }
  const std::vector<ContainerInfo>& containers() const noexcept { return containers_; }
  const std::vector<Deadlock>& deadlocks() const noexcept { return deadlocks_; }
  /// The longest time for which a thread was held up.
  std::chrono::nanoseconds longest_stop() const noexcept { return longest_stop_; }

  const ThreadInfo* find(std::uint64_t id) const noexcept;
  const ThreadInfo* find(std::string_view name) const noexcept;

  struct TextOptions {
    bool locks = false;                  ///< jstack -l: ownable synchronizers
    bool extended = false;               ///< jstack -e
    std::size_t virtual_threads = 1000;  ///< so many one by one; the rest by identical stack
  };
  /// HotSpot's text format, which jstack and jcmd print and tools read.
  std::string to_text(const TextOptions& options) const;
  std::string to_text() const { return to_text(TextOptions{}); }
  void write_text(std::ostream& out) const;
  /// What the JDK's Thread.dump_to_file writes as plain text (that of 25, with locks): all threads one by
  /// one.
  std::string to_plain() const;
  /// The JSON of the JDK's Thread.dump_to_file with its keys, and more of them.
  std::string to_json() const;

 private:
  friend class ThreadDumper;
  ThreadDump() = default;

  std::chrono::system_clock::time_point time_;
  pid_t pid_ = 0;
  std::vector<ThreadInfo> threads_;
  std::vector<ContainerInfo> containers_;
  std::vector<Deadlock> deadlocks_;
  std::chrono::nanoseconds longest_stop_{};
};

}  // namespace creel
