#include "ring_pipeline.hpp"

#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/transport.hpp>

#include <cstring>

namespace creel::comm {
namespace {

// Each rank's block goes once around the ring. Source: as ring_allreduce.
void ring_all_gather(Transport& transport, const CollectiveCall& call) {
  auto* gathered = static_cast<std::byte*>(call.output.data);
  std::byte* own = gathered + static_cast<std::size_t>(transport.rank()) * call.input.bytes();
  if (own != call.input.data && call.input.count != 0) std::memcpy(own, call.input.data, call.input.bytes());
  detail::run_ring(transport, {.blocks = {call.output.count, call.input.count},
                               .dtype = call.input.dtype,
                               .gather = true,
                               .gathered = gathered});
}

}  // namespace

void register_ring_all_gather(AlgorithmRegistry& registry);
void register_ring_all_gather(AlgorithmRegistry& registry) {
  registry.add({.name = "ring",
                .collective = Collective::AllGather,
                .fits = [](const Shape&) { return true; },
                .cost =
                    [](const Shape& shape) {
                      return Cost{static_cast<std::size_t>(shape.ranks - 1),
                                  detail::ring_phase_bytes(shape.bytes, shape.ranks)};
                    },
                .run = ring_all_gather});
}

}  // namespace creel::comm
