#include "ring_pipeline.hpp"

#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/transport.hpp>

namespace creel::comm {
namespace {

// Reduce-scatter, then all-gather, on one ring; a chunk starts its second round while others are in their
// first. The fewest bytes that a network needs: 2 (n-1)/n of the buffer. Source: Patarasuk and Yuan 2009,
// "Bandwidth optimal all-reduce algorithms for clusters of workstations".
void ring_allreduce(Transport& transport, const CollectiveCall& call) {
  const BufferView& data = call.output;
  auto* bytes = static_cast<std::byte*>(data.data);
  const auto blocks = detail::RingBlocks::split(data.count, transport.size(), size_of(data.dtype));
  detail::run_ring(transport, {.blocks = blocks,
                               .dtype = data.dtype,
                               .op = call.op,
                               .reduce = true,
                               .gather = true,
                               .source = bytes,
                               .result = bytes + blocks.begin(transport.rank()) * size_of(data.dtype),
                               .gathered = bytes});
}

}  // namespace

void register_ring_allreduce(AlgorithmRegistry& registry);
void register_ring_allreduce(AlgorithmRegistry& registry) {
  registry.add({.name = "ring",
                .collective = Collective::AllReduce,
                .fits = [](const Shape&) { return true; },
                .cost =
                    [](const Shape& shape) {
                      return Cost{2 * static_cast<std::size_t>(shape.ranks - 1),
                                  2 * detail::ring_phase_bytes(shape.bytes, shape.ranks)};
                    },
                .run = ring_allreduce});
}

}  // namespace creel::comm
