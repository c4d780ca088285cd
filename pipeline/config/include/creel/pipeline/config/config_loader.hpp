#pragma once

#include <creel/pipeline/config/run_config.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline {

/// What is wrong with the call at that index of a chain.
struct TransformMistake {
  std::size_t call;
  std::string message;
};

/// What the data part knows of transforms; config itself knows only how a call is written.
struct TransformRules {
  std::vector<std::string> names;  ///< every known transform; empty: names are not checked
  /// Everything that is wrong with a chain's arguments and order; may be empty.
  std::function<std::vector<TransformMistake>(const std::vector<TransformCall>&)> check;
};

struct LoadOptions {
  std::vector<std::string> overrides;  ///< `key.path=value`, later ones win
  TransformRules transforms;
  bool check_files = true;  ///< every shard that a path names must be there
};

/// Where each value came from: path of the key -> `default`, `FILE:LINE` or `--set key.path=value`.
using Origins = std::map<std::string, std::string, std::less<>>;

struct LoadedConfig {
  RunConfig config;
  Origins origins;
};

/// Reads and checks a whole configuration; throws ConfigErrors with everything that is wrong in it.
/// Relative data paths of the file are taken from the file's folder, those of an override from the working
/// folder; both are absolute in the result. A missing `name` is the file's stem.
LoadedConfig load_config(const std::filesystem::path& file, const LoadOptions& options = {});

/// The same from text; `file` names it in messages and gives the folder of relative paths.
LoadedConfig parse_config(std::string_view text, const std::filesystem::path& file,
                          const LoadOptions& options = {});

}  // namespace creel::pipeline
