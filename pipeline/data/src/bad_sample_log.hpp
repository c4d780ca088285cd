#pragma once

#include <creel/pipeline/data/loader.hpp>

#include <mutex>
#include <set>
#include <string>

namespace creel::pipeline::detail {

/// Counts bad samples of a loader and ends the run when there are too many.
class BadSampleLog {
 public:
  /// `rows` this rank's rows of an epoch.
  BadSampleLog(double max_bad, std::int64_t rows) : max_bad_(max_bad), rows_(rows) {}

  /// Starts an epoch's count.
  void begin_epoch(std::int64_t epoch, std::int64_t bad_before);
  /// Throws Error of code Data if that is one too many.
  void add(const BadSample& bad);
  BadSamples seen() const;

 private:
  const double max_bad_;
  const std::int64_t rows_;
  mutable std::mutex lock_;
  std::int64_t epoch_ = -1;
  std::int64_t in_epoch_ = 0;
  std::set<std::string> keys_;
  std::vector<BadSample> named_;
};

}  // namespace creel::pipeline::detail
