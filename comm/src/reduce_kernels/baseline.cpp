#include "reduce_kernels/kernel_templates.hpp"

namespace creel::comm::detail {

const ReduceKernelTable& baseline_reduce_kernels() noexcept { return kKernels; }

}  // namespace creel::comm::detail
