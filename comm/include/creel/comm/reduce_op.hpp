#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace creel::comm {

/// How elements of the ranks become one. Sums of integers wrap; Max and Min of a NaN and anything are NaN;
/// Average is the sum divided once by the number of ranks, for floating types only.
enum class ReduceOp : std::uint8_t { Sum, Max, Min, Average };

/// "sum", "max", …
constexpr std::string_view name(ReduceOp op) noexcept {
  constexpr std::string_view kNames[] = {"sum", "max", "min", "average"};
  return kNames[static_cast<std::size_t>(op)];
}

}  // namespace creel::comm
