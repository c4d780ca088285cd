#pragma once

#include "thread_record.hpp"
#include "unwind_row.hpp"

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace creel::detail {

/// The first 4 KiB of /proc/self/task/TID/`name`; empty if the thread has ended.
std::string read_task_file(pid_t tid, const char* name);

/// What /proc says of a thread of this process.
struct TaskStat {
  std::string name;
  char state = '?';  ///< R, S, D, T, Z …
  int nice = 0;
  std::uint64_t start_ticks = 0;  ///< since boot
};
/// False if the thread has ended.
bool read_task_stat(pid_t tid, TaskStat& stat);

/// What a thread is blocked in, if it is: /proc/self/task/TID/syscall.
struct BlockedCall {
  long number = -1;                          ///< of the system call; -1: none, it runs or was interrupted
  std::array<std::uint64_t, 4> arguments{};  ///< the first ones
  std::uint64_t stack_pointer = 0, program_counter = 0;  ///< where it called; 0: not known
  bool blocked = false;

  friend bool operator==(const BlockedCall&, const BlockedCall&) = default;
};
BlockedCall read_blocked_call(pid_t tid);

/// How often the kernel has taken the processor from a thread: as long as that does not change, a thread that
/// is blocked has been blocked all the time. 0 if the thread has ended.
std::uint64_t read_switches(pid_t tid);

/// Whether a signal would end the call early, with EINTR, although its handler asks for restarts (signal(7)):
/// the program may not be prepared for that.
bool ends_early_by_signal(const BlockedCall& call) noexcept;

/// Copies the stack of a blocked thread from `low` to `high` (0: as far as it goes), without disturbing it.
/// `switches`: read_switches() of before `low` was known. Empty if the thread went on meanwhile.
StackCopy copy_blocked_stack(pid_t tid, std::uintptr_t low, std::uintptr_t high, std::uint64_t switches,
                             std::span<std::byte> buffer) noexcept;

/// A lock that is not creel's, in which a thread waits.
struct ForeignLock {
  pid_t owner = 0;  ///< the thread that holds it; 0: there is none
  std::uintptr_t address = 0;
  const char* type = nullptr;  ///< a static string: "std::mutex"
  bool timed = false;          ///< the wait has a deadline
};
/// The lock whose owner a futex call waits for: glibc keeps the owner's tid beside the lock word, of mutexes
/// and of read-write locks that are locked for writing; a mutex with priority inheritance has it in the word.
/// Without an owner if `call` is no such wait.
ForeignLock find_foreign_lock(const BlockedCall& call);

/// Ids and records for the threads that creel neither started nor adopted, so that they keep their id from
/// dump to dump. Guarded by the dump engine's lock.
class ForeignThreads {
 public:
  struct Thread {
    pid_t tid = 0;
    std::uint64_t id = 0;
    TaskStat stat;
  };
  /// The tids of all threads of the process but those in `known` (sorted).
  static std::vector<pid_t> tids(const std::vector<pid_t>& known);
  /// What is to be said of these threads, less those that have ended.
  std::vector<Thread> identify(const std::vector<pid_t>& tids);
  void forget_all_but(const std::vector<pid_t>& living);

 private:
  struct Entry {
    std::uint64_t id = 0;
    std::uint64_t start_ticks = 0;
  };
  std::map<pid_t, Entry> ids_;
};

}  // namespace creel::detail
