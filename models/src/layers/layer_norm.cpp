#include <creel/models/functional.hpp>
#include <creel/models/layers/layer_norm.hpp>

namespace creel::nn {

LayerNorm::LayerNorm(std::int64_t width, double eps)
    : weight_(parameter("weight", {width})), bias_(parameter("bias", {width})), eps_(eps) {
  const NoGradGuard no_grad;
  weight_.fill_(1.0);  // the identity, which every initialisation starts from
}

Tensor LayerNorm::forward(const Tensor& x) const { return layer_norm(x, weight_, bias_, eps_); }

}  // namespace creel::nn
