#include <creel/pipeline/config/nearest_name.hpp>
#include <creel/pipeline/data/source.hpp>

#include <vector>

namespace creel::pipeline {

void register_datasets(SourceRegistry& registry);

std::unique_ptr<Source> open_source(const SourceConfig& config) {
  static const SourceRegistry registry = [] {
    SourceRegistry all;
    register_datasets(all);
    return all;
  }();
  const auto found = registry.formats().find(config.format);
  if (found != registry.formats().end()) return found->second(config.path);
  std::vector<std::string> names;
  for (const auto& [name, open] : registry.formats()) names.push_back(name);
  const std::optional<std::string> near = nearest_name(config.format, names);
  throw Error("no data format is called '" + config.format + "'; use " + near.value_or(names.front()),
              ErrorCode::Config);
}

}  // namespace creel::pipeline
