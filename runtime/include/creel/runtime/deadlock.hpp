#pragma once

#include <creel/runtime/thread.hpp>

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace creel {

/// A lock, queue or thread as dumps name it.
struct LockInfo {
  std::uintptr_t address = 0;  ///< identity, `<0x…>`
  std::string_view type;       ///< "creel::ReentrantLock"; a static string
  std::string name;            ///< as its user named it; empty: not named
  std::uint64_t owner = 0;     ///< id of the thread that holds it; 0: nobody, or it has no owner
  std::string owner_name;
  pid_t owner_pid = 0;  ///< of an owner in another process, as a SharedMonitor has; 0: it is in this one
};

/// One thread of a deadlock and what it waits for: what another one of the deadlock holds, or what only
/// others of it could give.
struct DeadlockedThread {
  std::uint64_t id = 0;
  std::string name;
  WaitKind wait = WaitKind::Parking;
  LockInfo lock;
  /// Names of all those that could end the wait, where the lock, a queue or channel, has no owner; see
  /// WakerSet.
  std::vector<std::string> wakers;
};

/// Threads of which each waits, without a deadline, for another one of them, so that none ever goes on.
/// Mostly a cycle, in its order: each waits for what the next one holds, the last for the first's.
struct Deadlock {
  std::vector<DeadlockedThread> threads;
};
/// The lines that a thread dump has for it: who waits for what, and who holds that.
std::string to_string(const Deadlock& deadlock);

/// The deadlocks of this moment, over platform and virtual threads alike, and through
/// - monitors, ReentrantLocks and write locks;
/// - joins, and futures whose work runs or whose Promise says who produces it;
/// - channels and queues whose users are declared (WakerSet);
/// - std::mutex, std::shared_mutex locked for writing, and other locks of pthreads, by what glibc and the
///   kernel know of them; also between threads that creel has not met. A virtual thread that holds one while
///   it is parked cannot be told from its carrier: such a deadlock is not found.
/// Semaphores, latches, read locks and conditions have no owner: whoever waits in them might be woken by
/// anybody.
///
///     for (const creel::Deadlock& deadlock : creel::find_deadlocks()) std::cerr << to_string(deadlock);
///
/// Reports nothing that was not true: a deadlock counts only if every thread of it stayed in the same wait
/// from before the owners were read until after. Stops nobody, may be called from any thread, and waits only
/// while a dump is being made. Cost: one pass over the threads, about 50 ns each; a system call for each
/// thread that waits for something with an owner; about 10 µs for each that is neither parked by creel nor
/// virtual.
std::vector<Deadlock> find_deadlocks();

}  // namespace creel
