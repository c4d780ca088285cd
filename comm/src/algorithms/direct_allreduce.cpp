#include "reduce_kernels/reduce_kernels.hpp"

#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/transport.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

namespace creel::comm {
namespace {

constexpr std::size_t kBlock = 1024;  // elements whose partial results stay in the first-level cache

// out = the inputs combined in rank order. `out` may be one of them.
void combine_in_rank_order(std::byte* out, const std::vector<const std::byte*>& inputs, std::size_t count,
                           DType dtype, ReduceOp op) {
  const detail::ReduceKernel& kernel = detail::reduce_kernel(dtype, op);
  const int ranks = static_cast<int>(inputs.size());
  const std::size_t element = size_of(dtype);
  alignas(64) std::array<std::byte, kBlock * sizeof(double)> partial;
  for (std::size_t from = 0; from < count; from += kBlock) {
    const std::size_t n = std::min(kBlock, count - from);
    const std::size_t offset = from * element;
    const std::byte* left = inputs[0] + offset;
    for (int r = 1; r < ranks; ++r) {
      const bool finished = r == ranks - 1;
      std::byte* to = finished ? out + offset : partial.data();
      kernel.combine[r > 1][finished](to, left, inputs[static_cast<std::size_t>(r)] + offset, n, ranks);
      left = partial.data();
    }
  }
}

// Every rank sends its buffer to every other one and combines all of them itself, in rank order: one
// message's time, for n-1 times the bytes.
void direct_allreduce(Transport& transport, const CollectiveCall& call) {
  const BufferView& data = call.output;
  auto* own = static_cast<std::byte*>(data.data);
  const int ranks = transport.size();
  const int rank = transport.rank();
  for (int i = 1; i < ranks; ++i) {
    const int peer = (rank + i) % ranks;  // not all to rank 0 first
    const std::span<std::byte> room = transport.reserve(peer, data.bytes());
    if (data.count != 0) std::memcpy(room.data(), own, data.bytes());
    transport.commit(peer);
  }
  std::vector<const std::byte*> inputs(static_cast<std::size_t>(ranks), own);
  for (int p = 0; p < ranks; ++p) {
    if (p != rank) inputs[static_cast<std::size_t>(p)] = transport.receive(p, data.bytes()).data();
  }
  combine_in_rank_order(own, inputs, data.count, data.dtype, call.op);
  for (int p = 0; p < ranks; ++p) {
    if (p != rank) transport.release(p);
  }
}

}  // namespace

void register_direct_allreduce(AlgorithmRegistry& registry);
void register_direct_allreduce(AlgorithmRegistry& registry) {
  registry.add({.name = "direct",
                .collective = Collective::AllReduce,
                .fits = [](const Shape& shape) { return shape.bytes <= shape.chunk_bytes; },
                .cost =
                    [](const Shape& shape) {
                      return Cost{1, static_cast<std::size_t>(shape.ranks - 1) * shape.bytes};
                    },
                .run = direct_allreduce});
}

}  // namespace creel::comm
