#pragma once

#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <exception>
#include <functional>

namespace creel_test {

/// Runs `body` to its end on a new platform thread, then on a new virtual one. Fails the test if it throws.
inline void on_both_kinds(const std::function<void()>& body) {
  for (creel::Thread::Builder builder : {creel::Thread::of_platform(), creel::Thread::of_virtual()}) {
    std::exception_ptr failure;
    builder
        .uncaught_exception_handler(
            [&](const creel::Thread&, std::exception_ptr exception) { failure = exception; })
        .start(body)
        .join();
    CHECK(failure == nullptr);
  }
}

}  // namespace creel_test
