#pragma once

#include <chrono>
#include <thread>

namespace creel_test {

/// Waits for a state that another thread brings about and nothing announces ("that thread is parked now"):
/// true as soon as `condition` holds, false if it does not within `limit`.
template <typename Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

}  // namespace creel_test
