#include <creel/models/functional.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>

namespace creel::nn {

namespace {

std::optional<Tensor> optional(const Tensor& tensor) {
  return tensor.defined() ? std::optional<Tensor>(tensor) : std::nullopt;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::linear(x, weight, optional(bias));
}

Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps) {
  return at::layer_norm(x, weight.sizes(), weight, bias, eps);
}

Tensor embedding(const Tensor& ids, const Tensor& table) { return at::embedding(table, ids); }

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride) {
  return at::conv2d(x, weight, optional(bias), at::IntArrayRef{stride, stride});
}

Tensor gelu(const Tensor& x) { return at::gelu(x); }

Tensor quick_gelu(const Tensor& x) { return at::mul(x, at::sigmoid(at::mul(x, 1.702))); }

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias, bool causal) {
  return at::scaled_dot_product_attention(q, k, v, optional(bias), /*dropout_p=*/0.0, causal);
}

Tensor l2_normalize(const Tensor& x) {
  return x.div(at::linalg_vector_norm(x, 2, at::IntArrayRef{-1}, /*keepdim=*/true));
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target) {
  return at::cross_entropy_loss(logits.to(at::kFloat), target);
}

Tensor gather_positions(const Tensor& x, const Tensor& positions) {
  const std::int64_t width = x.size(2);
  return x.gather(1, positions.view({-1, 1, 1}).expand({-1, 1, width})).squeeze(1);
}

}  // namespace creel::nn
