#if defined(__AVX2__)

#include "reduce_kernels/kernel_templates.hpp"

namespace creel::comm::detail {

const ReduceKernelTable* avx2_reduce_kernels() noexcept { return &kKernels; }

}  // namespace creel::comm::detail

#else  // not x86-64

#include "reduce_kernels/reduce_kernels.hpp"

namespace creel::comm::detail {

const ReduceKernelTable* avx2_reduce_kernels() noexcept { return nullptr; }

}  // namespace creel::comm::detail

#endif
