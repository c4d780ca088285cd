#pragma once

#include <creel/models/module.hpp>

#include <cstdint>

namespace creel::nn {

/// Cuts an image into squares and maps each to a vector: a convolution with stride = kernel.
/// Parameter: weight [width, channels, patch, patch]; no bias, as in CLIP.
/// Source: Dosovitskiy et al. 2021, section 3.1.
class PatchEmbed : public Module {
 public:
  PatchEmbed(std::int64_t channels, std::int64_t patch, std::int64_t width);

  /// x [B, C, H, W] → [B, (H / patch) · (W / patch), width], patches row by row.
  Tensor forward(const Tensor& x) const;

  const Tensor& weight() const noexcept { return weight_; }

 private:
  Tensor weight_;
  std::int64_t patch_;
};

}  // namespace creel::nn
