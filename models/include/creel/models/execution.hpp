#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

/// How LibTorch runs in this process. Free of its headers.
namespace creel::nn {

/// Number of threads that one tensor operation may use. LibTorch keeps it per calling thread (its pool is
/// OpenMP): call it on the thread that runs the model, once, before the first operation. The sums of a step
/// are bitwise the same from run to run only for the same number. Throws Error unless n ≥ 1.
void set_intra_op_threads(int n);
int intra_op_threads();

/// Seeds LibTorch's global CPU generator (dropout draws from it).
void manual_seed(std::uint64_t seed);

/// The state of the global CPU generator, for a checkpoint; set_rng_state continues exactly there.
/// set_rng_state throws Error if the bytes are not such a state.
std::vector<std::byte> rng_state();
void set_rng_state(std::span<const std::byte> state);

}  // namespace creel::nn
