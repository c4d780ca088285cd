#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace creel::pipeline {

/// The candidate that `name` was most likely meant to be: the smallest edit distance (insert, delete, replace
/// or swap of neighbours counts 1), at most a third of the name's length and at least 1. Nothing if none is
/// that near.
std::optional<std::string> nearest_name(std::string_view name, std::span<const std::string> candidates);

}  // namespace creel::pipeline
