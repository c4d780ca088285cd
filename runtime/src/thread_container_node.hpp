#pragma once

#include <creel/runtime/thread_container.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace creel {

/// What dumps see of a container; threads hold it, so that it outlives the container while a thread of it
/// lives.
struct ThreadContainer::Node {
  std::uint64_t id = 0;
  std::string name;
  const char* type = nullptr;
  std::shared_ptr<Node> parent;  // null: under the root
  std::uint64_t owner = 0;       // id of the thread that made it

  /// All containers that live, or of which a thread lives, oldest first.
  static std::vector<std::shared_ptr<Node>> snapshot();
};

}  // namespace creel
