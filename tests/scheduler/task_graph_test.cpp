#include <creel/runtime/error.hpp>
#include <creel/scheduler/task_graph.hpp>

#include <doctest/doctest.h>

using namespace creel::scheduler;

namespace {

std::optional<int> nothing() { return std::nullopt; }

}  // namespace

TEST_CASE("a graph prints its stages, what flows between them and how much room there is") {
  TaskGraph graph("thumbnails");
  const Flow<int> numbers = graph.source<int>({.name = "list", .capacity = 7}, nothing);
  const Flow<double> halves =
      graph.map(numbers, {.name = "decode", .workers = 4}, [](int n) { return n / 2.0; });
  graph.sink(halves, {.name = "save", .workers = 2}, [](double) {});
  CHECK(graph.to_text() ==
        "graph thumbnails\n"
        "  list    source x 1 -> decode, int, room for 7\n"
        "  decode  map x 4 -> save, double, room for 10\n"
        "  save    sink x 2\n");
}

TEST_CASE("a flow that ends at the caller or nowhere is printed so") {
  TaskGraph graph("open");
  const Flow<int> numbers = graph.source<int>({.name = "list"}, nothing);
  CHECK(graph.to_text() == "graph open\n  list  source x 1 -> nowhere, int, room for 4\n");
  graph.outlet(numbers);
  CHECK(graph.to_text() == "graph open\n  list  source x 1 -> the caller, int, room for 4\n");
}

TEST_CASE("mistakes in a graph are refused as it is built") {
  TaskGraph graph("g");
  const Flow<int> numbers = graph.source<int>({.name = "list"}, nothing);
  graph.sink(numbers, {.name = "save"}, [](int) {});
  CHECK_THROWS_WITH(graph.sink(numbers, {.name = "again"}, [](int) {}),
                    "graph g: the output of stage list is connected twice");
  CHECK_THROWS_WITH(graph.source<int>({.name = "list"}, nothing), "graph g has two stages called list");
  CHECK_THROWS_WITH(graph.source<int>({}, nothing), "a source stage has no name");
  CHECK_THROWS_WITH(graph.source<int>({.name = "more", .workers = 2}, nothing),
                    "stage more is a source and has 2 workers; only a map or a sink may have more than 1");
  CHECK_THROWS_WITH(graph.source<int>({.name = "none", .workers = 0}, nothing),
                    "stage none is a source and has 0 workers; only a map or a sink may have more than 1");
}

TEST_CASE("a map that answers Result<T> makes items of type T") {
  TaskGraph graph("g");
  const Flow<int> numbers = graph.source<int>({.name = "list"}, nothing);
  const auto even = graph.map(numbers, {.name = "even"}, [](int n) -> creel::Result<long> { return n; });
  static_assert(std::is_same_v<decltype(even), const Flow<long>>);
}
