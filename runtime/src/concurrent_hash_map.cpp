#include "thread_record.hpp"

#include <creel/runtime/detail/concurrent_hash_table.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/fork_join.hpp>

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <ranges>

namespace creel::detail {

MapComputation::MapComputation(const void* computed_map) noexcept
    : map(computed_map), outer(current_record().own().computing) {
  current_record().own().computing = this;
}

MapComputation::~MapComputation() { current_record().own().computing = outer; }

void check_not_computing(const void* map, const std::string& name) {
  const MapComputation* at = current_record().own().computing;
  while (at != nullptr && at->map != map) at = at->outer;
  if (at != nullptr) [[unlikely]] {
    throw Error("creel::ConcurrentHashMap" + (name.empty() ? std::string() : " \"" + name + "\"") +
                ": a function that computes a value of it changes the same map");
  }
}

std::size_t map_stripe_count() noexcept {
  static const std::size_t count = [] {
    const long processors = ::sysconf(_SC_NPROCESSORS_CONF);
    return std::bit_ceil(static_cast<std::size_t>(std::clamp(4 * processors, 8L, 256L)));
  }();
  return count;
}

void for_each_stripe(std::size_t count, bool parallel, FunctionRef<void(std::size_t)> body) {
  const auto stripes = std::views::iota(std::size_t{0}, count);
  if (parallel) return creel::parallel_for(stripes, body);
  for (const std::size_t stripe : stripes) body(stripe);
}

}  // namespace creel::detail
