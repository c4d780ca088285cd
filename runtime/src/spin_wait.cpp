#include "spin_wait.hpp"

#include <sched.h>

namespace creel::detail {

bool has_several_processors() noexcept {
  static const bool several = [] {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    return ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 1;
  }();
  return several;
}

}  // namespace creel::detail
