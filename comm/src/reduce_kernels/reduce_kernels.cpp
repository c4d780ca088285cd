#include "reduce_kernels/reduce_kernels.hpp"

namespace creel::comm::detail {
namespace {

const ReduceKernelTable& best_kernels() noexcept {
#if defined(__x86_64__)
  if (const ReduceKernelTable* avx2 = avx2_reduce_kernels();
      avx2 != nullptr && __builtin_cpu_supports("avx2")) {
    return *avx2;
  }
#endif
  return baseline_reduce_kernels();
}

}  // namespace

const ReduceKernel& reduce_kernel(DType dtype, ReduceOp op) noexcept {
  static const ReduceKernelTable& kernels = best_kernels();
  return kernels[static_cast<std::size_t>(dtype)][static_cast<std::size_t>(op)];
}

}  // namespace creel::comm::detail
