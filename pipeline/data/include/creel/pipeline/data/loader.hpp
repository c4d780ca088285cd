#pragma once

#include <creel/pipeline/config/run_config.hpp>
#include <creel/pipeline/data/batch.hpp>
#include <creel/pipeline/data/collate.hpp>
#include <creel/pipeline/data/sampler.hpp>
#include <creel/pipeline/data/source.hpp>
#include <creel/pipeline/data/transform.hpp>
#include <creel/scheduler/task_graph.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace creel::pipeline {

/// What becomes of the row of a sample that cannot be used.
enum class BadRows : std::uint8_t {
  Replace,  ///< by the next good row of the same batch of the same rank, around its end: no other row moves
  Drop,     ///< the batch gets shorter: for evaluation, where a row twice would count twice
};

struct LoaderOptions {
  SamplerOptions sampler;
  std::int64_t epochs = 1;
  Position start;             ///< first step to load; a resumed run gives where it stopped
  std::int64_t workers = 2;   ///< threads that transform
  std::int64_t prefetch = 4;  ///< batches that may be ready ahead of the step
  double max_bad = 0.01;  ///< share of this rank's rows of an epoch that may be bad; above it the run ends
  std::int64_t bad_before =
      0;  ///< bad rows of the epoch of `start` before it: so that a resumed run counts on
  BadRows bad_rows = BadRows::Replace;
  CollateRules collate = {};
};

/// Samples that could not be used so far, each once, however many epochs met it.
struct BadSamples {
  std::int64_t count = 0;
  std::vector<BadSample> samples;  ///< the first kNamed of them, in the order in which they were met
  static constexpr std::size_t kNamed = 1000;
};

/// From a data set to batches: the stages read → decode → collate, which add themselves to a graph.
///
///     Loader loader = make_train_loader(config, rank, ranks, start);
///     scheduler::TaskGraph graph{config.name};
///     graph.sink(loader.add_to(graph), {.name = "step"}, [&](Batch batch) { … });
///     scheduler::GraphRunner{graph}.run();
///
/// The batches of a rank, bytes and order, are a function of the data set, the options and nothing else: not
/// of the number of workers, not of timing, not of where the run was stopped and resumed.
///
/// A sample that cannot be read, decoded or transformed is logged and counted, and bad_rows decides of its
/// row. Other ranks and other steps never notice. Above max_bad, or when a batch has no good row, the run
/// ends with an Error of code Data.
class Loader {
 public:
  Loader(std::shared_ptr<const Source> source, TransformChain transforms, LoaderOptions options);
  ~Loader();
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  /// Adds the stages; the graph may be run after this object is gone, and loads from options.start each time.
  scheduler::Flow<Batch> add_to(scheduler::TaskGraph& graph) const;

  std::int64_t steps_per_epoch() const noexcept;
  const Source& source() const noexcept;
  /// At any time, from any thread.
  BadSamples bad_samples() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// The training data of a run, for one of its ranks: shuffled, augmented, full batches only. `bad_before` as
/// in LoaderOptions.
Loader make_train_loader(const RunConfig& config, std::int64_t rank, std::int64_t ranks, Position start = {},
                         TransformResources resources = {}, std::int64_t bad_before = 0);

/// The evaluation data: every sample once in its order, transforms.eval, the last batch as short as it is.
/// With more than one rank, each gets its rows; then the last batch of some may have no rows and does not
/// come.
Loader make_eval_loader(const RunConfig& config, TransformResources resources = {}, std::int64_t rank = 0,
                        std::int64_t ranks = 1);

/// Runs a loader and calls `use` with every batch on the calling thread. Throws what a stage or `use` throws.
void for_each_batch(const Loader& loader, const std::function<void(Batch&)>& use);

}  // namespace creel::pipeline
