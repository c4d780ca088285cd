#pragma once

#include <creel/runtime/error.hpp>

#include <string>
#include <vector>

namespace creel::pipeline {

/// One thing that is wrong in a configuration, with its place.
struct ConfigIssue {
  std::string origin;  ///< the file, or the whole `--set key.path=value`
  int line = 0;        ///< from 1; 0 when the origin has no lines
  int column = 0;
  std::string key;      ///< full path, `data.batch`; empty when the text as a whole is wrong
  std::string message;  ///< what is wrong, and what to do

  /// `file:line:column: key: message`, or `--set key.path=value: key: message`.
  std::string text() const;
};

/// Everything that is wrong in a configuration, all at once. what() holds one line per issue, in order of
/// place.
class ConfigErrors : public ConfigError {
 public:
  explicit ConfigErrors(std::vector<ConfigIssue> issues,
                        std::source_location where = std::source_location::current());

  const std::vector<ConfigIssue>& issues() const noexcept { return issues_; }
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::vector<ConfigIssue> issues_;
  std::string text_;
};

}  // namespace creel::pipeline
