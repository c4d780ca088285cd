#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

namespace creel::pipeline {

/// A place in training: the step that comes next. This is all that an exact resume needs to know of the data.
struct Position {
  std::int64_t epoch = 0;
  std::int64_t step = 0;  ///< within the epoch
  friend auto operator<=>(const Position&, const Position&) = default;
};

struct SamplerOptions {
  std::int64_t samples = 0;  ///< in the data set
  std::int64_t batch = 1;    ///< rows of each rank
  std::int64_t rank = 0;
  std::int64_t ranks = 1;
  std::uint64_t seed = 0;
  bool shuffle = true;    ///< anew for each epoch, by (seed, epoch)
  bool drop_last = true;  ///< leave out an epoch's last global batch if it is not full
};

/// Which samples make the batch of a rank at a step.
///
/// An epoch is one order of all samples, cut into global batches of batch x ranks; rank r takes rows
/// [r batch, (r + 1) batch) of each. So 1 rank with batch 128 sees the same global batches as 2 ranks with
/// 64, and nothing depends on how many threads load.
class Sampler {
 public:
  /// Throws Error of code Data if an epoch would have no batch, Config for a rank that is not in [0, ranks).
  explicit Sampler(const SamplerOptions& options);

  const SamplerOptions& options() const noexcept { return options_; }
  std::int64_t steps_per_epoch() const noexcept { return steps_; }
  /// Indices of this rank's rows at `position`, in their order; fewer than batch (even none) only in the last
  /// batch without drop_last. Computes an epoch's order when asked for the first position in it.
  std::span<const std::int64_t> rows(const Position& position);
  /// The position after `position`.
  Position next(Position position) const noexcept;

 private:
  void order_epoch(std::int64_t epoch);

  SamplerOptions options_;
  std::int64_t steps_;
  std::int64_t ordered_epoch_ = -1;
  std::vector<std::int64_t> order_;
};

}  // namespace creel::pipeline
