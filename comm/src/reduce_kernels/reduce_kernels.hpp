#pragma once

#include <creel/comm/dtype.hpp>
#include <creel/comm/reduce_op.hpp>

#include <cstddef>

namespace creel::comm::detail {

/// out[i] = a[i] op b[i] for `count` elements. `out` may be `a` or `b`; no pointer need be aligned.
using CombineFunction = void (*)(void* out, const void* a, const void* b, std::size_t count, int ranks);

/// The four ways to combine elements of one type by one operation. `a` is an element or a partial result, `b`
/// always an element; the result is a partial one, or finished: rounded to the element type and, for Average,
/// divided by `ranks`. Partial results of 16-bit floats are fp32, all others have their own type.
struct ReduceKernel {
  CombineFunction combine[2][2];  ///< [a is partial][result is finished]
};

const ReduceKernel& reduce_kernel(DType dtype, ReduceOp op) noexcept;

/// Bytes of a partial result.
constexpr std::size_t partial_size_of(DType dtype) noexcept {
  return dtype == DType::F16 || dtype == DType::BF16 ? 4 : size_of(dtype);
}

constexpr std::size_t kDTypes = 7;
constexpr std::size_t kReduceOps = 4;
using ReduceKernelTable = ReduceKernel[kDTypes][kReduceOps];

/// The kernels for any machine, and those for one with AVX2 (nullptr where the build has none).
const ReduceKernelTable& baseline_reduce_kernels() noexcept;
const ReduceKernelTable* avx2_reduce_kernels() noexcept;

}  // namespace creel::comm::detail
