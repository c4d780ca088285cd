#pragma once

#include <creel/models/module.hpp>

#include <cstdint>

namespace creel::nn {

/// x [..., in] → [..., out]. Parameters: weight [out, in], bias [out].
class Linear : public Module {
 public:
  Linear(std::int64_t in, std::int64_t out, bool bias = true);

  Tensor forward(const Tensor& x) const;

  const Tensor& weight() const noexcept { return weight_; }

  /// Undefined if made without.
  const Tensor& bias() const noexcept { return bias_; }

 private:
  Tensor weight_;
  Tensor bias_;
};

}  // namespace creel::nn
