#pragma once

#include <creel/runtime/unique_fd.hpp>

#include <cstdint>
#include <filesystem>

namespace creel::pipeline {

/// RUN_DIR/metrics.jsonl: one JSON object a line, each written whole by one write(2), so that a reader never
/// sees half a line and a killed run loses at most the step it was in.
class MetricsLog {
 public:
  struct Step {
    std::int64_t step;
    std::int64_t epoch;
    double loss;
    double images_per_s;
  };
  struct Result {
    double zero_shot_top1;  ///< negative: not evaluated, left out
    double images_per_s;
    double seconds;
    std::int64_t bad_samples;
  };

  /// Opens the file of a run that continues after `step` (0: from the start). Lines of later steps, results,
  /// and a torn last line are cut off first, so that resuming neither repeats nor loses a step. Throws
  /// IoError.
  MetricsLog(const std::filesystem::path& run_dir, std::int64_t step);

  /// `{"event":"step",…}`; the loss with 17 significant digits, which is exact.
  void step(const Step& record);
  void resume(std::int64_t step);
  void result(const Result& record);

 private:
  void write_line(const char* text, std::size_t size);

  std::filesystem::path path_;
  UniqueFd fd_;
};

/// True if the run in `run_dir` has written its result line.
bool has_result(const std::filesystem::path& run_dir);

}  // namespace creel::pipeline
