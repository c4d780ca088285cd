#pragma once

#include <creel/comm/dtype.hpp>
#include <creel/comm/reduce_op.hpp>
#include <creel/comm/transport.hpp>

#include <cstddef>

namespace creel::comm::detail {

/// How a buffer is cut into one block per rank: all of `block` elements, the last ones shorter or empty.
struct RingBlocks {
  std::size_t count = 0;  ///< elements in all
  std::size_t block = 0;

  /// Blocks of nearly equal size whose starts lie on cache lines of the buffer.
  static RingBlocks split(std::size_t count, int ranks, std::size_t element_bytes);

  std::size_t begin(int b) const noexcept;
  std::size_t size(int b) const noexcept;
};

/// A collective on the ring 0 → 1 → … → 0. In the reduce phase each block goes once around, starting at the
/// rank after its owner, and every rank adds its part; in the gather phase the owners' blocks go around. One
/// phase or both.
struct RingJob {
  RingBlocks blocks;
  DType dtype = DType::F32;
  ReduceOp op = ReduceOp::Sum;
  bool reduce = false;
  bool gather = false;
  const std::byte* source = nullptr;  ///< reduce: this rank's parts of all blocks
  std::byte* result = nullptr;        ///< reduce: where this rank's own block, reduced, goes
  std::byte* gathered =
      nullptr;  ///< gather: all blocks; this rank's own is there already, or `result` puts it there
};

/// Blocks are cut into chunks, which travel one behind the other: a rank works on one while its neighbours
/// work on the next. All ranks send their messages in the same order, so that a receiver knows which one
/// comes.
void run_ring(Transport& transport, const RingJob& job);

/// Messages in a row and bytes that a rank sends, for one phase over `bytes` in all.
std::size_t ring_phase_bytes(std::size_t bytes, int ranks) noexcept;

}  // namespace creel::comm::detail
