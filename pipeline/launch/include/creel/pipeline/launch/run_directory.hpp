#pragma once

#include <creel/pipeline/config/run_config.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <filesystem>

namespace creel::pipeline {

enum class RunMode {
  Fresh,      ///< refuses a folder that already holds a run
  Resume,     ///< goes on with the run in the folder
  Overwrite,  ///< removes the run in the folder
};

/// The folder of a run, locked for this process until the object's end.
class RunDirectory {
 public:
  /// Makes the folder if needed, locks it, checks it against `mode`, and saves the configuration as
  /// config.yaml. Throws Error(Config) if another process has the folder, if it holds a run and the mode is
  /// Fresh, or if a resumed run had another configuration in a key that changes its numbers; the message
  /// names the keys.
  static RunDirectory open(const std::filesystem::path& path, RunMode mode, const RunConfig& config);

  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  RunDirectory(std::filesystem::path path, UniqueFd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  UniqueFd lock_;
};

}  // namespace creel::pipeline
