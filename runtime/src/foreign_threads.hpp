#pragma once

#include "thread_record.hpp"

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace creel::detail {

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
  long number = -1;         ///< of the system call; -1: none, it runs or was interrupted
  std::uint64_t first = 0;  ///< its arguments
  std::uint64_t second = 0;
  bool blocked = false;
};
BlockedCall read_blocked_call(pid_t tid);

/// The mutex of another library that a futex call waits for: glibc keeps the owner's tid beside the lock
/// word. Returns 0 if `call` is no wait for a contended mutex.
pid_t mutex_owner(const BlockedCall& call);

/// Ids and records for the threads that creel neither started nor adopted, so that they keep their id from
/// dump to dump. Guarded by the dump engine's lock.
class ForeignThreads {
 public:
  struct Thread {
    pid_t tid = 0;
    std::uint64_t id = 0;
    TaskStat stat;
  };
  /// All threads of the process but those in `known` (sorted).
  std::vector<Thread> list(const std::vector<pid_t>& known);

 private:
  struct Entry {
    std::uint64_t id = 0;
    std::uint64_t start_ticks = 0;
    bool seen = false;
  };
  std::map<pid_t, Entry> ids_;
};

}  // namespace creel::detail
