#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline {

/// The paths that a shard pattern names, in order: `train-{000..003}.tar` is four paths; zeros in front of
/// the first number set the width. Several ranges multiply, the last one running fastest. A path without a
/// range is itself. Throws Error(Config) for a range that is not `{FIRST..LAST}` with FIRST <= LAST, or for
/// over a million paths.
std::vector<std::string> expand_shards(std::string_view pattern);

}  // namespace creel::pipeline
