#include <creel/runtime/detail/striped.hpp>

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

namespace creel::detail {

std::size_t stripe_count() noexcept {
  static const std::size_t count = [] {
    const long processors = ::sysconf(_SC_NPROCESSORS_CONF);
    return std::bit_ceil(static_cast<std::size_t>(std::clamp(processors, 1L, 64L)));
  }();
  return count;
}

std::size_t current_stripe() noexcept {
  const int processor = ::sched_getcpu();  // from memory that the kernel keeps current, not by a system call
  return processor < 0 ? 0 : static_cast<std::size_t>(processor) & (stripe_count() - 1);
}

}  // namespace creel::detail
