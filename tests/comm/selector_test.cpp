#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/selector.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

using namespace creel::comm;

TEST_CASE("auto: one message for small buffers, the ring for large ones") {
  const std::size_t chunk = 128 << 10;
  CHECK(select_algorithm(Collective::AllReduce, {8, 2, chunk}).name == "direct");
  CHECK(select_algorithm(Collective::AllReduce, {32 << 10, 2, chunk}).name == "direct");
  CHECK(select_algorithm(Collective::AllReduce, {(32 << 10) + 1, 2, chunk}).name == "ring");
  CHECK(select_algorithm(Collective::AllReduce, {16 << 10, 8, chunk}).name == "ring");
  CHECK(select_algorithm(Collective::AllReduce, {16 << 20, 4, chunk}).name == "ring");
}

TEST_CASE("a wanted algorithm is taken where it fits; a wrong name is an error that gives the right ones") {
  const std::size_t chunk = 4 << 10;
  CHECK(select_algorithm(Collective::AllReduce, {8, 2, chunk}, "ring").name == "ring");
  CHECK(select_algorithm(Collective::AllReduce, {4 << 10, 2, chunk}, "direct").name == "direct");
  CHECK(select_algorithm(Collective::AllReduce, {(4 << 10) + 1, 2, chunk}, "direct").name == "ring");
  CHECK(select_algorithm(Collective::AllReduce, {(4 << 10) + 1, 2, chunk}, "auto").name == "ring");
  CHECK_THROWS_WITH_AS(select_algorithm(Collective::AllReduce, {8, 2, chunk}, "tree"),
                       "all_reduce has no algorithm 'tree'; use auto, direct, ring", creel::Error);
}

TEST_CASE("every collective has an algorithm for every shape, and names are unique within it") {
  const AlgorithmRegistry& registry = AlgorithmRegistry::instance();
  for (const Collective collective : {Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter,
                                      Collective::Broadcast, Collective::Barrier}) {
    for (const int ranks : {2, 3, 8, 255}) {
      for (const std::size_t bytes : {0u, 1u, 1u << 16, 1u << 30}) {
        CHECK(select_algorithm(collective, {bytes, ranks, 64}).collective == collective);
      }
    }
  }
  for (const Algorithm& algorithm : registry.all()) {
    CHECK(registry.find(algorithm.collective, algorithm.name) == &algorithm);
    CHECK(algorithm.cost({1 << 20, 4, 1 << 16}).steps >= 1);
  }
}
