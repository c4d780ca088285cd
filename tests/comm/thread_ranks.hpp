#pragma once

#include <creel/comm/group.hpp>

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

/// The ranks of a world as threads of this process, where a thread sanitizer sees all of them. What a rank
/// throws fails the test and ends the others.
inline void thread_ranks(creel::comm::World& world, const std::function<void(creel::comm::Group&)>& body,
                         const creel::comm::GroupOptions& options = {}) {
  std::vector<std::string> errors(static_cast<std::size_t>(world.size()));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < world.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        creel::comm::Group group = creel::comm::Group::join(world, rank, options);
        body(group);
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(rank)] = error.what();
        world.abort(rank, error.what());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& error : errors) CHECK_MESSAGE(error.empty(), error);
}
