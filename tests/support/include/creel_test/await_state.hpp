#pragma once

#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <chrono>

namespace creel_test {

/// Waits until `thread` is in `state`: "it is parked now". Fails the test after half a minute, so that a
/// thread which never gets there does not hang it.
inline void await_state(const creel::Thread& thread, creel::ThreadState state) {
  const creel::Deadline limit = std::chrono::seconds(30);
  while (thread.state() != state) {
    REQUIRE_FALSE(limit.expired());
    creel::Thread::yield();
  }
}

}  // namespace creel_test
