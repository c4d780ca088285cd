#pragma once

#include <cstdint>
#include <optional>

namespace creel::comm::detail {

/// Bytes that this process could still allocate without swapping or being killed: the machine's available
/// memory or the room under its control groups' limits, whichever is less. Nothing if neither can be read.
std::optional<std::uint64_t> available_memory();

}  // namespace creel::comm::detail
