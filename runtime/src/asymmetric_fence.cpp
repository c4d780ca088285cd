#include "asymmetric_fence.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace creel::detail {
namespace {

bool register_process() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

}  // namespace

// A fork()ed child keeps the registration. A static constructor that runs virtual threads before this one has
// run finds false and uses plain fences on both sides, which is right as well: see the heavy one.
const bool asymmetric::is_asymmetric = register_process();

void asymmetric_heavy_fence() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (asymmetric::is_asymmetric) ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

}  // namespace creel::detail
