#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace creel::models {

/// Learning rate that rises linearly over the first `warmup` steps and falls by half a cosine to 0 at step
/// `total`. A pure function of the step, so that a resumed run needs no state of it.
struct CosineSchedule {
  double lr = 0;
  std::int64_t warmup = 0;
  std::int64_t total = 1;

  /// The rate of step 0, 1, …; warm-up ends with exactly `lr`, and steps from `total` on get 0.
  double at(std::int64_t step) const {
    if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
    const double length = static_cast<double>(std::max<std::int64_t>(total - warmup, 1));
    const double progress = std::min(static_cast<double>(step - warmup) / length, 1.0);
    return lr * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  }
};

}  // namespace creel::models
