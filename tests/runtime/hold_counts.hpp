#pragma once

#include <creel/runtime/detail/lock_core.hpp>
#include <creel/runtime/read_write_lock.hpp>

namespace creel::detail {

/// How often a lock is held, to be set: to lock until it cannot count further takes a minute.
struct HoldCounts {
  static std::uint32_t& beyond_the_first(LockCore& lock) { return lock.more_holds_; }
  static std::uint32_t& of_writer(ReentrantReadWriteLock& lock) { return lock.write_holds_; }
};

}  // namespace creel::detail
