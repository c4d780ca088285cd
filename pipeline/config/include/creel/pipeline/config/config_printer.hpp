#pragma once

#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/config/run_config.hpp>

#include <string>
#include <vector>

namespace creel::pipeline {

/// The configuration as YAML that parse_config reads back to the same values. With origins, each value is
/// followed by a comment that says where it came from.
std::string to_yaml(const RunConfig& config, const Origins* origins = nullptr);

/// One key as the documentation shows it.
struct KeyDescription {
  std::string path;           ///< data.batch
  std::string type;           ///< whole number >= 1
  std::string default_value;  ///< as YAML; `required` if there is none
  std::string doc;
  bool fixed_on_resume;  ///< a resumed run must have the value it was started with
};

/// Every key there is, in the order of a configuration file.
std::vector<KeyDescription> describe_keys();

/// describe_keys() as the page docs/config.md.
std::string keys_markdown();

/// Keys whose values differ although a resumed run needs them equal (model, data, seed, ranks, ...).
std::vector<std::string> keys_that_forbid_resume(const RunConfig& saved, const RunConfig& wanted);

}  // namespace creel::pipeline
