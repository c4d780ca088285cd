#pragma once

#include <creel/models/module.hpp>

#include <cstdint>

namespace creel::nn {

/// Normalises the last dimension to mean 0 and variance 1, then scales and shifts. Parameters: weight, bias
/// [width]. Source: Ba et al. 2016.
class LayerNorm : public Module {
 public:
  explicit LayerNorm(std::int64_t width, double eps = 1e-5);

  Tensor forward(const Tensor& x) const;

 private:
  Tensor weight_;
  Tensor bias_;
  double eps_;
};

}  // namespace creel::nn
