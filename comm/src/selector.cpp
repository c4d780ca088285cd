#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/selector.hpp>
#include <creel/runtime/error.hpp>

#include <limits>
#include <string>

namespace creel::comm {
namespace {

// The first row that matches wins. Sizes are where the algorithms cross over, measured through shared memory
// on two processors with 2 and 4 ranks (tests/bench/collectives).
struct Choice {
  Collective collective;
  int max_ranks;
  std::size_t max_bytes;
  std::string_view algorithm;
};

constexpr int kAnyRanks = std::numeric_limits<int>::max();
constexpr std::size_t kAnyBytes = std::numeric_limits<std::size_t>::max();
constexpr Choice kChoices[] = {
    {Collective::AllReduce, 4, 32 << 10, "direct"},
    {Collective::AllReduce, kAnyRanks, 8 << 10, "direct"},
    {Collective::AllReduce, kAnyRanks, kAnyBytes, "ring"},
    {Collective::ReduceScatter, kAnyRanks, kAnyBytes, "ring"},
    {Collective::AllGather, kAnyRanks, kAnyBytes, "ring"},
    {Collective::Broadcast, kAnyRanks, kAnyBytes, "binomial"},
    {Collective::Barrier, kAnyRanks, kAnyBytes, "dissemination"},
};

}  // namespace

const Algorithm& select_algorithm(Collective collective, const Shape& shape, std::string_view wanted) {
  const AlgorithmRegistry& registry = AlgorithmRegistry::instance();
  if (wanted != "auto") {
    const Algorithm* algorithm = registry.find(collective, wanted);
    if (algorithm == nullptr) {
      throw Error(std::string(name(collective)) + " has no algorithm '" + std::string(wanted) +
                      "'; use auto, " + registry.names(collective),
                  ErrorCode::Config);
    }
    if (algorithm->fits(shape)) return *algorithm;
  }
  for (const Choice& choice : kChoices) {
    if (choice.collective != collective || shape.ranks > choice.max_ranks || shape.bytes > choice.max_bytes)
      continue;
    const Algorithm* algorithm = registry.find(collective, choice.algorithm);
    if (algorithm != nullptr && algorithm->fits(shape)) return *algorithm;
  }
  throw Error("no algorithm for " + std::string(name(collective)) + " of " + format_bytes(shape.bytes) +
              " on " + std::to_string(shape.ranks) + " ranks");
}

}  // namespace creel::comm
