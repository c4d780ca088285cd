#pragma once

#include <creel/runtime/thread_dump.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace creel::detail {

/// The mappings of the process, read once, and what they and the kernel's page tables say of a stack.
class StackMappings {
 public:
  StackMappings();

  /// Figures of the stack that lies in [low, high); nothing if it is not there any more.
  std::optional<StackFigures> figures(std::uintptr_t low, std::uintptr_t high) const;

 private:
  struct Mapping {
    std::uintptr_t low, high;
    bool accessible;  // else a guard
  };
  const Mapping* at(std::uintptr_t address) const noexcept;

  std::vector<Mapping> mappings_;  // ascending
};

}  // namespace creel::detail
