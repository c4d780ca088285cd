#pragma once

#include <creel/comm/dtype.hpp>
#include <creel/comm/reduce_op.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace creel::comm {

enum class Collective : std::uint8_t { AllReduce, AllGather, ReduceScatter, Broadcast, Barrier };

/// "all_reduce", "barrier", …
constexpr std::string_view name(Collective collective) noexcept {
  constexpr std::string_view kNames[] = {"all_reduce", "all_gather", "reduce_scatter", "broadcast",
                                         "barrier"};
  return kNames[static_cast<std::size_t>(collective)];
}

/// One call of a collective: what all ranks of a group must agree on before they exchange a byte.
struct Operation {
  Collective collective = Collective::Barrier;
  DType dtype = DType::U8;
  ReduceOp reduce = ReduceOp::Sum;
  std::uint8_t root = 0;
  std::uint64_t sequence = 0;   ///< the how-manieth collective of the group, from 1
  std::uint64_t bytes = 0;      ///< of the whole buffer, see Group
  std::string_view label = {};  ///< for people only: not compared

  bool agrees_with(const Operation& other) const noexcept {
    return collective == other.collective && dtype == other.dtype && reduce == other.reduce &&
           root == other.root && sequence == other.sequence && bytes == other.bytes;
  }
};

/// "1.2 MiB", "64 KiB", "8 B".
std::string format_bytes(std::uint64_t bytes);

/// "all_reduce #41, 1.2 MiB", and ", waiting for rank 1" if `waiting_for` is a rank, and " (label)" if there
/// is one.
std::string doing(const Operation& operation, int waiting_for = -1);

/// "all_reduce #41 (1.2 MiB)": names the operation in an error.
std::string title(const Operation& operation);

/// "all_reduce #41 of 1.2 MiB, f32 sum": all that must agree.
std::string describe(const Operation& operation);

}  // namespace creel::comm
