#pragma once

#include <creel/runtime/thread_dump.hpp>

#include <chrono>
#include <string>

namespace creel::detail {

/// As java.time.Instant prints it, to the nanosecond.
std::string instant_text(std::chrono::system_clock::time_point time);

/// `creel::Monitor@55d0c4a1`: how the files of Thread.dump_to_file name an object.
std::string object_text(const LockInfo& lock);

}  // namespace creel::detail
