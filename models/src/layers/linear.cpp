#include <creel/models/functional.hpp>
#include <creel/models/layers/linear.hpp>

namespace creel::nn {

Linear::Linear(std::int64_t in, std::int64_t out, bool bias)
    : weight_(parameter("weight", {out, in})), bias_(bias ? parameter("bias", {out}) : Tensor()) {}

Tensor Linear::forward(const Tensor& x) const { return linear(x, weight_, bias_); }

}  // namespace creel::nn
