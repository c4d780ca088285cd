#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <cstdint>
#include <optional>

/// Every tensor function that the house uses and that is not a method of at::Tensor. Models and layers
/// include this and never an ATen operator header: a source then compiles in 2 to 3 s instead of 10 to 25.
namespace creel::nn {

using at::Tensor;
using c10::NoGradGuard;

Tensor operator+(const Tensor& a, const Tensor& b);
Tensor operator-(const Tensor& a, const Tensor& b);
Tensor operator*(const Tensor& a, const Tensor& b);
Tensor operator/(const Tensor& a, const Tensor& b);
Tensor operator+(const Tensor& a, double b);
Tensor operator*(const Tensor& a, double b);
Tensor operator-(const Tensor& a);

// ---- Making tensors. On the CPU unless said otherwise; float32 where no type is given.

Tensor empty(at::IntArrayRef shape, at::ScalarType type = at::kFloat);
Tensor zeros(at::IntArrayRef shape, at::ScalarType type = at::kFloat);
Tensor ones(at::IntArrayRef shape, at::ScalarType type = at::kFloat);
Tensor full(at::IntArrayRef shape, double value, at::ScalarType type = at::kFloat);
Tensor zeros_like(const Tensor& like);

/// 0, 1, … n-1, int64, on the device of `like`.
Tensor arange(std::int64_t n, const Tensor& like);

/// A tensor over memory that the caller keeps alive; rows are contiguous.
Tensor view_of(void* data, at::IntArrayRef shape, at::ScalarType type);

Tensor cat(at::TensorList tensors, std::int64_t dim);
Tensor stack(at::TensorList tensors, std::int64_t dim);

// ---- Layers' arithmetic.

/// x [..., in] · weight [out, in]ᵀ + bias [out] → [..., out]; an undefined bias adds nothing.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// Normalises the last dimension of x: weight, bias [width].
Tensor layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps);

/// ids [...] int64, table [n, width] → [..., width]. The gradient of the table is dense.
Tensor embedding(const Tensor& ids, const Tensor& table);

/// x [B, C, H, W], weight [out, C, kh, kw] → [B, out, H', W'], no padding.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride);

/// x · Φ(x), by the error function.
Tensor gelu(const Tensor& x);

/// x · σ(1.702 x), the activation of OpenAI's CLIP weights.
Tensor quick_gelu(const Tensor& x);

/// q [B, H, Lq, D], k and v [B, H, Lk, D] → [B, H, Lq, D], scaled by 1/√D. `bias` is added to the scores and
/// broadcasts to [B, H, Lq, Lk]; `causal` lets query i see keys 0 … i and excludes a bias.
/// Source: Vaswani et al. 2017, eq. 1. Deterministic for a fixed number of intra-op threads.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias = {},
                 bool causal = false);

/// x / ‖x‖₂ along the last dimension.
Tensor l2_normalize(const Tensor& x);

/// Mean over rows of −log softmax(logits)[row, target]; logits [N, classes], target [N] int64. Computed in
/// float32.
Tensor cross_entropy(const Tensor& logits, const Tensor& target);

/// Rows x[i, positions[i], :] of x [B, L, W] → [B, W]; positions [B] int64.
Tensor gather_positions(const Tensor& x, const Tensor& positions);

/// `value` where condition holds, `other` elsewhere; condition broadcasts.
Tensor where(const Tensor& condition, double value, double other);

// ---- Random numbers.

/// A CPU generator of its own, seeded: draws do not touch LibTorch's global generator.
at::Generator make_generator(std::uint64_t seed);

/// Fills `x` with draws from N(mean, std²), in place, without recording a gradient.
void normal_(Tensor x, double mean, double std, at::Generator& generator);

// ---- Optimisation, in place and without recording gradients.

struct AdamWArguments {
  double lr;
  double beta1;
  double beta2;
  double weight_decay;
  double eps;
};

/// One AdamW step over matching lists: parameters, their gradients, both moments (float32, same shapes) and
/// the count of this step (a float32 scalar each, already advanced). One pass over memory, vectorised.
void fused_adamw_(at::TensorList parameters, at::TensorList gradients, at::TensorList first_moments,
                  at::TensorList second_moments, at::TensorList steps, const AdamWArguments& arguments);

/// √Σ‖t‖² over all tensors.
double global_norm(at::TensorList tensors);

}  // namespace creel::nn
