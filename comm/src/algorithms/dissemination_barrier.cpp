#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/transport.hpp>

#include <bit>

namespace creel::comm {
namespace {

// In step k each rank tells the one 2^k further that it, and all it has heard of, are here. Source: Hensgen,
// Finkel and Manber 1988, "Two algorithms for barrier synchronization".
void dissemination_barrier(Transport& transport, const CollectiveCall&) {
  const int ranks = transport.size();
  for (int distance = 1; distance < ranks; distance *= 2) {
    const int to = (transport.rank() + distance) % ranks;
    const int from = (transport.rank() + ranks - distance) % ranks;
    transport.reserve(to, 0);
    transport.commit(to);
    transport.receive(from, 0);
    transport.release(from);
  }
}

}  // namespace

void register_dissemination_barrier(AlgorithmRegistry& registry);
void register_dissemination_barrier(AlgorithmRegistry& registry) {
  registry.add(
      {.name = "dissemination",
       .collective = Collective::Barrier,
       .fits = [](const Shape&) { return true; },
       .cost =
           [](const Shape& shape) {
             return Cost{static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(shape.ranks - 1))), 0};
           },
       .run = dissemination_barrier});
}

}  // namespace creel::comm
