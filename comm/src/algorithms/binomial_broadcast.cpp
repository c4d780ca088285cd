#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/transport.hpp>

#include <algorithm>
#include <bit>
#include <cstring>

namespace creel::comm {
namespace {

// A rank has the data after as many steps as its distance from the root has bits set; in step k all that have
// it send it 2^k further. Chunks follow one another down the tree.
void binomial_broadcast(Transport& transport, const CollectiveCall& call) {
  const auto ranks = static_cast<unsigned>(transport.size());
  const auto root = static_cast<unsigned>(call.root);
  const unsigned place = (static_cast<unsigned>(transport.rank()) + ranks - root) % ranks;
  const auto rank_at = [&](unsigned p) { return static_cast<int>((p + root) % ranks); };
  // The parent's place is without our lowest bit; children's places add one bit below it.
  const unsigned reach = place == 0 ? std::bit_ceil(ranks) : place & (~place + 1);

  auto* data = static_cast<std::byte*>(call.output.data);
  const std::size_t total = call.output.bytes();
  for (std::size_t from = 0; from < total; from += transport.chunk_bytes()) {
    const std::size_t bytes = std::min(transport.chunk_bytes(), total - from);
    if (place != 0) {
      const int parent = rank_at(place - reach);
      std::memcpy(data + from, transport.receive(parent, bytes).data(), bytes);
      transport.release(parent);
    }
    for (unsigned bit = reach >> 1; bit != 0; bit >>= 1) {
      if (place + bit >= ranks) continue;
      const int child = rank_at(place + bit);
      std::memcpy(transport.reserve(child, bytes).data(), data + from, bytes);
      transport.commit(child);
    }
  }
}

std::size_t log2_ceil(int ranks) {
  return static_cast<std::size_t>(std::bit_width(static_cast<unsigned>(ranks - 1)));
}

}  // namespace

void register_binomial_broadcast(AlgorithmRegistry& registry);
void register_binomial_broadcast(AlgorithmRegistry& registry) {
  registry.add({.name = "binomial",
                .collective = Collective::Broadcast,
                .fits = [](const Shape&) { return true; },
                .cost =
                    [](const Shape& shape) {
                      return Cost{log2_ceil(shape.ranks), log2_ceil(shape.ranks) * shape.bytes};
                    },
                .run = binomial_broadcast});
}

}  // namespace creel::comm
