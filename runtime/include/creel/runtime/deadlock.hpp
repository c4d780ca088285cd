#pragma once

#include <creel/runtime/thread.hpp>

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
};

/// One thread of a deadlock and what it waits for, which the next one of the cycle holds.
struct DeadlockedThread {
  std::uint64_t id = 0;
  std::string name;
  WaitKind wait = WaitKind::Parking;
  LockInfo lock;
};

/// A cycle of threads of which each waits, without a deadline, for what the next one holds; the last for the
/// first's.
struct Deadlock {
  std::vector<DeadlockedThread> threads;
};

/// The deadlocks of this moment over monitors, locks and joins, platform and virtual threads alike.
///
/// Stops nobody: a cycle counts only if every thread of it stayed in the same wait from before the owners
/// were read until after, so that what is reported was true at one instant. Cost: one pass over the threads,
/// about 50 ns each, and a system call for each thread that waits for something with an owner.
std::vector<Deadlock> find_deadlocks();

}  // namespace creel
