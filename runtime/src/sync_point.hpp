#pragma once

#include <cstdint>

// Where threads meet: before and after the atomic operations on which the synchronizers turn. With
// -DCREEL_PERTURB=ON each such point may delay its thread, so that schedules happen which otherwise take
// weeks; without, the calls are empty.
//
// What happens at a point is drawn from the seed (environment CREEL_PERTURB_SEED), the thread's id and how
// many points the thread has passed: a run with the same seed takes the same decisions. The kernel's part of
// the schedule remains its own, so that a failure comes back often, not always.

namespace creel::detail {

enum class Perturbation : std::uint8_t { None, Spin, Yield, Sleep };

/// What the `point`-th synchronisation point of thread `thread` does.
constexpr Perturbation perturbation(std::uint64_t seed, std::uint64_t thread, std::uint64_t point) noexcept {
  // The finalizer of splitmix64 (G. L. Steele, D. Lea and C. H. Flood, Fast Splittable Pseudorandom Number
  // Generators, OOPSLA 2014).
  std::uint64_t bits = seed + thread * 0x9e3779b97f4a7c15ull + point * 0xd1342543de82ef95ull;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9ull;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebull;
  bits ^= bits >> 31;
  const std::uint64_t draw = bits % 64;
  if (draw < 40) return Perturbation::None;
  if (draw < 52) return Perturbation::Spin;
  return draw < 63 ? Perturbation::Yield : Perturbation::Sleep;
}

#if CREEL_PERTURB
/// Does not switch virtual threads, so that it may stand where a spin lock is held. Keeps errno.
void sync_point() noexcept;
/// As sync_point(), but a virtual thread may also leave its carrier: where it may park anyway. True if a wait
/// should end here without a reason, as waits may.
bool switch_point() noexcept;
#else
inline void sync_point() noexcept {}
inline bool switch_point() noexcept { return false; }
#endif

}  // namespace creel::detail
