#include "ring_pipeline.hpp"

#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/transport.hpp>

namespace creel::comm {
namespace {

// Each rank's block goes once around the ring and every rank adds its part. Source: as ring_allreduce.
void ring_reduce_scatter(Transport& transport, const CollectiveCall& call) {
  detail::run_ring(transport, {.blocks = {call.input.count, call.output.count},
                               .dtype = call.input.dtype,
                               .op = call.op,
                               .reduce = true,
                               .source = static_cast<const std::byte*>(call.input.data),
                               .result = static_cast<std::byte*>(call.output.data)});
}

}  // namespace

void register_ring_reduce_scatter(AlgorithmRegistry& registry);
void register_ring_reduce_scatter(AlgorithmRegistry& registry) {
  registry.add({.name = "ring",
                .collective = Collective::ReduceScatter,
                .fits = [](const Shape&) { return true; },
                .cost =
                    [](const Shape& shape) {
                      return Cost{static_cast<std::size_t>(shape.ranks - 1),
                                  detail::ring_phase_bytes(shape.bytes, shape.ranks)};
                    },
                .run = ring_reduce_scatter});
}

}  // namespace creel::comm
