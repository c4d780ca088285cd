#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace creel::pipeline {

/// What a person sees while a run trains. On a terminal one line that redraws itself: a bar, epoch, step,
/// loss, images/s, time left. Elsewhere a plain line every few seconds. Writes to stderr; stdout stays for
/// results.
class Progress {
 public:
  struct State {
    std::int64_t step;
    std::int64_t steps;
    std::int64_t epoch;
    std::int64_t epochs;
    double loss;
    double images_per_s;
  };

  /// `quiet`: this rank shows nothing.
  Progress(std::string title, bool quiet);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update(const State& state);
  /// Leaves the last line standing and moves to a new one.
  void finish() noexcept;

 private:
  std::string line(const State& state) const;

  std::string title_;
  bool quiet_;
  bool terminal_;
  bool drawn_ = false;
  std::int64_t first_step_ = -1;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point shown_{};
};

/// "48 s", "3:07", "1:02:33".
std::string format_duration(double seconds);

}  // namespace creel::pipeline
