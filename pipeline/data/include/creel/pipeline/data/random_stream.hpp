#pragma once

#include <array>
#include <cstdint>

namespace creel::pipeline {

/// What a stream of random numbers belongs to. Equal keys give equal numbers, on any thread, in any order,
/// after any resume.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t sample = 0;  ///< index in the data set; kWholeSet for an epoch's order
  std::uint32_t epoch = 0;
  std::uint16_t purpose = 0;  ///< number of the transform in its chain
  static constexpr std::uint64_t kWholeSet = UINT64_MAX;
};

/// Random numbers as a function of (key, counter), without state that threads could share: Philox4x32-10.
/// Cheap to make: one is made for each transform of each sample.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3; its known-answer
/// tests hold.
class RandomStream {
 public:
  using result_type = std::uint32_t;

  explicit RandomStream(const RandomKey& key) noexcept;

  static constexpr std::uint32_t min() noexcept { return 0; }
  static constexpr std::uint32_t max() noexcept { return UINT32_MAX; }
  std::uint32_t operator()() noexcept;
  std::uint64_t next64() noexcept;

  /// In [low, high), with 24 random bits.
  float uniform(float low, float high) noexcept;
  /// In [0, bound), each value equally likely; bound > 0.
  std::uint64_t below(std::uint64_t bound) noexcept;

  /// The generator's function itself: counter and key to four numbers.
  static std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                             std::array<std::uint32_t, 2> key) noexcept;

 private:
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 2> key_;
  std::array<std::uint32_t, 4> block_{};
  unsigned used_ = 4;
};

}  // namespace creel::pipeline
