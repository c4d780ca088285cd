#pragma once

#include <creel/comm/algorithm.hpp>

#include <string_view>

namespace creel::comm {

/// The algorithm for a call: `wanted` if it fits the shape, else ("auto", or it does not fit) what the table
/// of measured sizes says.
const Algorithm& select_algorithm(Collective collective, const Shape& shape,
                                  std::string_view wanted = "auto");

}  // namespace creel::comm
