#pragma once

#include <creel/pipeline/config/run_config.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline {

/// A transform string that cannot be read; `offset` is the byte where it goes wrong.
struct TransformSyntaxError {
  std::size_t offset;
  std::string message;
};

/// Reads `decode | resize(32) | affine(10, 0.1, 0.1)`. Each call's `column` is its byte offset in the text
/// plus 1 and its `line` 1. Throws TransformSyntaxError.
std::vector<TransformCall> parse_transforms(std::string_view text);

/// The call as it is written in a config: `affine(10, 0.1, 0.1)`.
std::string to_string(const TransformCall& call);

/// The whole string: `decode | resize(32)`.
std::string to_string(const std::vector<TransformCall>& calls);

}  // namespace creel::pipeline
