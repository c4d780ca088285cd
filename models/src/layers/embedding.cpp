#include <creel/models/functional.hpp>
#include <creel/models/layers/embedding.hpp>

namespace creel::nn {

Embedding::Embedding(std::int64_t count, std::int64_t width) : weight_(parameter("weight", {count, width})) {}

Tensor Embedding::forward(const Tensor& ids) const { return embedding(ids, weight_); }

Tensor Embedding::rows(std::int64_t first, std::int64_t count) const {
  return weight_.narrow(0, first, count);
}

}  // namespace creel::nn
