#pragma once

#include "unwind_row.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace creel::detail {

/// The calling thread's stack from `rsp` up, for a walk of it: in place if its bounds are known, else a copy
/// of what can be read (another library's fiber, a signal stack).
class OwnStack {
 public:
  explicit OwnStack(std::uintptr_t rsp);
  const StackCopy& copy() const noexcept { return copy_; }

 private:
  StackCopy copy_;
  std::vector<std::byte> bytes_;
};

}  // namespace creel::detail
