#pragma once

#include <creel/pipeline/config/run_config.hpp>
#include <creel/pipeline/data/sample.hpp>
#include <creel/runtime/result.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

namespace creel::pipeline {

/// A data set that is read by index.
class Source {
 public:
  virtual ~Source() = default;
  virtual std::int64_t size() const noexcept = 0;
  /// "000123 of train-000000.tar"; 0 <= index < size().
  virtual std::string key(std::int64_t index) const = 0;
  /// The sample's files. A Failure is that one sample's fault; what ends the run is thrown. Any thread.
  virtual Result<Sample> read(std::int64_t index) const = 0;
};

/// The formats there are: each source in src/datasets has a `register_<stem>` that adds itself.
class SourceRegistry {
 public:
  using Open = std::function<std::unique_ptr<Source>(const std::string& path)>;
  void add(std::string format, Open open) { formats_.emplace(std::move(format), std::move(open)); }
  const std::map<std::string, Open>& formats() const noexcept { return formats_; }

 private:
  std::map<std::string, Open> formats_;
};

/// Opens a data set. Throws Error: Config for an unknown format, Missing for a file that is not there, Data
/// for a file that is not what it should be.
std::unique_ptr<Source> open_source(const SourceConfig& config);

}  // namespace creel::pipeline
