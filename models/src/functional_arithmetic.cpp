#include <creel/models/functional.hpp>

#include <ATen/ops/add.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/div.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace creel::nn {

Tensor operator+(const Tensor& a, const Tensor& b) { return at::add(a, b); }
Tensor operator-(const Tensor& a, const Tensor& b) { return at::sub(a, b); }
Tensor operator*(const Tensor& a, const Tensor& b) { return at::mul(a, b); }
Tensor operator/(const Tensor& a, const Tensor& b) { return at::div(a, b); }
Tensor operator+(const Tensor& a, double b) { return at::add(a, b); }
Tensor operator*(const Tensor& a, double b) { return at::mul(a, b); }
Tensor operator-(const Tensor& a) { return at::neg(a); }

Tensor empty(at::IntArrayRef shape, at::ScalarType type) { return at::empty(shape, type); }
Tensor zeros(at::IntArrayRef shape, at::ScalarType type) { return at::zeros(shape, type); }
Tensor ones(at::IntArrayRef shape, at::ScalarType type) { return at::ones(shape, type); }
Tensor full(at::IntArrayRef shape, double value, at::ScalarType type) { return at::full(shape, value, type); }
Tensor zeros_like(const Tensor& like) { return at::zeros_like(like); }

Tensor arange(std::int64_t n, const Tensor& like) { return at::arange(n, like.options().dtype(at::kLong)); }

Tensor view_of(void* data, at::IntArrayRef shape, at::ScalarType type) {
  return at::from_blob(data, shape, at::TensorOptions(type));
}

Tensor cat(at::TensorList tensors, std::int64_t dim) { return at::cat(tensors, dim); }
Tensor stack(at::TensorList tensors, std::int64_t dim) { return at::stack(tensors, dim); }

Tensor where(const Tensor& condition, double value, double other) {
  const at::TensorOptions options = condition.options().dtype(at::kFloat);
  return at::where(condition, at::scalar_tensor(value, options), at::scalar_tensor(other, options));
}

}  // namespace creel::nn
