#pragma once

#include <creel/models/module.hpp>

#include <cstdint>

namespace creel::nn {

/// A table of vectors. Parameter: weight [count, width].
class Embedding : public Module {
 public:
  Embedding(std::int64_t count, std::int64_t width);

  /// ids [...] int64 → [..., width].
  Tensor forward(const Tensor& ids) const;

  /// Rows first … first + count: the positions of a piece of a sequence, [count, width].
  Tensor rows(std::int64_t first, std::int64_t count) const;

  const Tensor& weight() const noexcept { return weight_; }
  std::int64_t count() const { return weight_.size(0); }

 private:
  Tensor weight_;
};

}  // namespace creel::nn
