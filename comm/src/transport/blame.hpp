#pragma once

#include "shared_segment.hpp"

#include <chrono>
#include <cstdint>
#include <string>

namespace creel::comm::detail {

/// Which rank holds a collective up, and what is known of it: "has not entered within 60 s; its process 4711
/// is stopped".
struct Blame {
  int rank = -1;
  std::string what;
};

/// Rank `waiter` has waited for `peer` for `waited`. The peer may itself wait for another: follows who waits
/// for whom to the one that waits for nobody.
Blame find_blame(const SharedSegment& segment, int waiter, int peer, std::uint64_t sequence,
                 std::chrono::duration<double> waited);

}  // namespace creel::comm::detail
