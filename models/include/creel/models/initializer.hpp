#pragma once

#include <creel/models/functional.hpp>

#include <cstdint>

namespace creel::nn {

/// Draws the weights of a model one after another from one seeded stream, so that the same seed gives the
/// same weights. LibTorch's global generator is not touched. All members work in place and record no
/// gradient.
class Initializer {
 public:
  explicit Initializer(std::uint64_t seed) : generator_(make_generator(seed)) {}

  /// N(0, std²).
  void normal(const Tensor& parameter, double std) { normal_(parameter, 0.0, std, generator_); }

  static void constant(const Tensor& parameter, double value) {
    const NoGradGuard no_grad;
    parameter.fill_(value);
  }

 private:
  at::Generator generator_;
};

}  // namespace creel::nn
