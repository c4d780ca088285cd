#pragma once

#include <creel/scheduler/channel.hpp>
#include <creel/scheduler/stage.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace creel::scheduler {

/// How a stage is to run.
struct StageOptions {
  std::string name;  ///< unique in its graph; its threads are called `name-0`, `name-1`, …
  std::size_t workers = 1;
  std::size_t capacity = 0;  ///< items that may wait at its output, and the window in which order is
                             ///< restored; 0: 2 + 2 x workers
};

/// The output of a stage that has not been connected yet: items of type T.
template <typename T>
class Flow {
 public:
  std::size_t edge() const noexcept { return edge_; }

 private:
  friend class TaskGraph;
  explicit Flow(std::size_t edge) noexcept : edge_(edge) {}
  std::size_t edge_;
};

namespace detail {
template <typename T>
struct Unwrapped {
  using type = T;
};
template <typename T>
struct Unwrapped<Result<T>> {
  using type = T;
};
}  // namespace detail

/// A pipeline as a value: stages joined by typed flows. It may be printed, copied, and run by a GraphRunner;
/// building it starts nothing.
///
///     TaskGraph graph{"thumbnails"};
///     Flow<Path> paths = graph.source<Path>({.name = "list"}, next_path);
///     Flow<Image> images = graph.map(paths, {.name = "decode", .workers = 4}, decode_file);
///     graph.sink(images, {.name = "save"}, save);
///     GraphRunner{graph}.run();
///
/// Each flow goes to exactly one stage, or to the caller by outlet(). Bodies are copied with the graph; a
/// map's and a sink's body is copied once more for each worker, so that its captured scratch memory is the
/// worker's own. Errors of construction (a name used twice, no workers, a flow connected twice) are thrown at
/// once.
class TaskGraph {
 public:
  explicit TaskGraph(std::string name) : name_(std::move(name)) {}

  const std::string& name() const noexcept { return name_; }

  /// A stage that makes items: `std::optional<T> body()` until nullopt. One worker.
  template <typename T, typename Body>
  Flow<T> source(StageOptions options, Body body) {
    const std::size_t edge = add_edge<T>(options);
    add(single(options, "source"), kNone, edge, [body](const Ends& ends) -> std::unique_ptr<Stage> {
      return std::make_unique<SourceStage<T, Body>>(body, ends.out<T>());
    });
    return Flow<T>(edge);
  }

  /// A stage that turns each item into another: `Out body(In)` or `Result<Out> body(In)`, whose Failure drops
  /// the item. Results leave in the order in which the items came, however many workers there are.
  template <typename In, typename Body>
  auto map(Flow<In> input, StageOptions options, Body body, ItemName<In> item_name = {}) {
    using Out = typename detail::Unwrapped<std::invoke_result_t<Body&, In>>::type;
    const std::size_t edge = add_edge<Out>(options);
    add(info(options, "map"), input.edge(), edge,
        [body, item_name](const Ends& ends) -> std::unique_ptr<Stage> {
          return std::make_unique<MapStage<In, Out, Body>>(body, item_name, ends.in<In>(), ends.out<Out>());
        });
    return Flow<Out>(edge);
  }

  /// A stage that makes some items of many: `void body(In, Emitter<Out>&)` for each in order, then
  /// `void finish(Emitter<Out>&)`. One worker.
  template <typename Out, typename In, typename Body, typename Finish>
  Flow<Out> aggregate(Flow<In> input, StageOptions options, Body body, Finish finish,
                      ItemName<In> item_name = {}) {
    const std::size_t edge = add_edge<Out>(options);
    add(single(options, "aggregate"), input.edge(), edge,
        [body, finish, item_name](const Ends& ends) -> std::unique_ptr<Stage> {
          return std::make_unique<AggregateStage<In, Out, Body, Finish>>(body, finish, item_name,
                                                                         ends.in<In>(), ends.out<Out>());
        });
    return Flow<Out>(edge);
  }

  /// A stage that uses items up: `void body(T)`, or `bool body(T)` where false ends the run in good order.
  template <typename T, typename Body>
  void sink(Flow<T> input, StageOptions options, Body body, ItemName<T> item_name = {}) {
    add(info(options, "sink"), input.edge(), kNone,
        [body, item_name](const Ends& ends) -> std::unique_ptr<Stage> {
          return std::make_unique<SinkStage<T, Body>>(body, item_name, ends.in<T>());
        });
  }

  /// Leaves the end of a flow to the caller's thread, which takes items from GraphRunner::channel(flow).
  template <typename T>
  void outlet(Flow<T> input) {
    connect(input.edge(), kCaller);
  }

  /// One line a stage: name, kind, workers, type of its items and room for them.
  std::string to_text() const;

 private:
  friend class GraphRunner;
  static constexpr std::size_t kNone = SIZE_MAX;
  static constexpr std::size_t kCaller = SIZE_MAX - 1;

  // The channels at a stage's two ends, typed again by the stage that asked for them.
  struct Ends {
    std::shared_ptr<ChannelBase> input;
    std::shared_ptr<ChannelBase> output;
    template <typename T>
    std::shared_ptr<Channel<T>> in() const {
      return std::static_pointer_cast<Channel<T>>(input);
    }
    template <typename T>
    std::shared_ptr<Channel<T>> out() const {
      return std::static_pointer_cast<Channel<T>>(output);
    }
  };
  using MakeStage = std::function<std::unique_ptr<Stage>(const Ends&)>;
  using MakeChannel =
      std::function<std::shared_ptr<ChannelBase>(const std::string&, const std::string&, std::size_t)>;

  struct Node {
    StageInfo info;
    std::size_t input;
    std::size_t output;
    MakeStage make;
  };
  struct Edge {
    std::size_t producer;
    std::size_t consumer;
    std::size_t capacity;
    const std::type_info* type;
    MakeChannel make;
  };

  template <typename T>
  std::size_t add_edge(const StageOptions& options) {
    return add_edge(options, typeid(T),
                    [](const std::string& from, const std::string& to, std::size_t capacity) {
                      return std::make_shared<Channel<T>>(from, to, capacity);
                    });
  }
  std::size_t add_edge(const StageOptions& options, const std::type_info& type, MakeChannel make);
  void add(StageInfo info, std::size_t input, std::size_t output, MakeStage make);
  void connect(std::size_t edge, std::size_t consumer);
  static StageInfo info(const StageOptions& options, const char* kind);
  static StageInfo single(const StageOptions& options, const char* kind);

  std::string name_;
  std::vector<Node> nodes_;  // each after those that feed it: a stage can only name flows that exist
  std::vector<Edge> edges_;
};

}  // namespace creel::scheduler
