#include "batch_builder.hpp"

#include <creel/pipeline/data/loader.hpp>
#include <creel/scheduler/graph_runner.hpp>

#include <algorithm>

namespace creel::pipeline {

using detail::BadSampleLog;
using detail::BatchBuilder;
using detail::Row;

struct Loader::State {
  std::shared_ptr<const Source> source;
  std::shared_ptr<const TransformChain> transforms;
  LoaderOptions options;
  std::int64_t steps = 0;
  std::shared_ptr<BadSampleLog> bad;
};

namespace {

// Walks the rows of all steps from the start on. The stage's body, so a copy of it begins again.
class RowReader {
 public:
  RowReader(std::shared_ptr<const Source> source, const LoaderOptions& options)
      : source_(std::move(source)), sampler_(options.sampler), at_(options.start), epochs_(options.epochs) {}

  std::optional<Row> operator()() {
    for (;;) {
      if (at_.epoch >= epochs_) return std::nullopt;
      const std::span<const std::int64_t> rows = sampler_.rows(at_);
      if (next_row_ < rows.size()) return read(rows);
      next_row_ = 0;
      at_ = sampler_.next(at_);
    }
  }

 private:
  Row read(std::span<const std::int64_t> rows) {
    const std::size_t number = next_row_++;
    Result<Sample> sample = source_->read(rows[number]);
    if (sample) sample->epoch = at_.epoch;
    return {.position = at_,
            .number = static_cast<std::int64_t>(number),
            .of = static_cast<std::int64_t>(rows.size()),
            .key = source_->key(rows[number]),
            .sample = std::move(sample)};
  }

  std::shared_ptr<const Source> source_;
  Sampler sampler_;
  Position at_;
  std::int64_t epochs_;
  std::size_t next_row_ = 0;
};

// Copied for each worker, with the scratch memory.
struct RowTransformer {
  std::shared_ptr<const TransformChain> transforms;
  std::uint64_t seed;
  Scratch scratch;

  Row operator()(Row row) {
    if (!row.sample) return row;
    if (std::optional<Failure> failure = transforms->apply(*row.sample, seed, scratch))
      row.sample = *std::move(failure);
    return row;
  }
};

struct RowCollator {
  BatchBuilder builder;
  std::shared_ptr<BadSampleLog> bad;
  std::int64_t first_epoch;
  std::int64_t bad_before;  // in first_epoch

  void operator()(Row row, scheduler::Emitter<Batch>& emit) {
    const std::int64_t epoch = row.position.epoch;
    if (row.number == 0) bad->begin_epoch(epoch, epoch == first_epoch ? bad_before : 0);
    std::optional<Batch> batch = builder.add(std::move(row));
    if (batch && batch->rows > 0) emit(*std::move(batch));
  }
};

}  // namespace

Loader::Loader(std::shared_ptr<const Source> source, TransformChain transforms, LoaderOptions options)
    : state_(std::make_shared<State>()) {
  options.sampler.samples = source->size();
  state_->steps = Sampler(options.sampler).steps_per_epoch();
  const std::int64_t rows = options.sampler.drop_last
                                ? state_->steps * options.sampler.batch
                                : (source->size() + options.sampler.ranks - 1) / options.sampler.ranks;
  state_->bad = std::make_shared<BadSampleLog>(options.max_bad, rows);
  state_->source = std::move(source);
  state_->transforms = std::make_shared<const TransformChain>(std::move(transforms));
  state_->options = std::move(options);
}

Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

scheduler::Flow<Batch> Loader::add_to(scheduler::TaskGraph& graph) const {
  const LoaderOptions& options = state_->options;
  const auto workers = static_cast<std::size_t>(std::max<std::int64_t>(options.workers, 1));
  const scheduler::ItemName<Row> name = [](const Row& row) { return row.key; };
  // Room for stored files hides a slow read; decoded rows, which are larger, wait in the window while one
  // takes long.
  const auto rows =
      graph.source<Row>({.name = "read", .capacity = 16 + 4 * workers}, RowReader(state_->source, options));
  const auto decoded = graph.map(rows, {.name = "decode", .workers = workers, .capacity = 8 + 4 * workers},
                                 RowTransformer{state_->transforms, options.sampler.seed, {}}, name);
  return graph.aggregate<Batch>(
      decoded,
      {.name = "collate", .capacity = static_cast<std::size_t>(std::max<std::int64_t>(options.prefetch, 1))},
      RowCollator{BatchBuilder(options.bad_rows, options.collate, state_->bad), state_->bad,
                  options.start.epoch, options.bad_before},
      [](scheduler::Emitter<Batch>&) {}, name);
}

std::int64_t Loader::steps_per_epoch() const noexcept { return state_->steps; }
const Source& Loader::source() const noexcept { return *state_->source; }
BadSamples Loader::bad_samples() const { return state_->bad->seen(); }

namespace {

LoaderOptions common_options(const RunConfig& config, std::int64_t rank, std::int64_t ranks) {
  LoaderOptions options;
  options.sampler.batch = config.data.batch;
  options.sampler.rank = rank;
  options.sampler.ranks = ranks;
  options.sampler.seed = static_cast<std::uint64_t>(config.train.seed);
  options.workers = config.data.workers;
  options.prefetch = config.data.prefetch;
  options.max_bad = config.data.max_bad;
  return options;
}

}  // namespace

Loader make_train_loader(const RunConfig& config, std::int64_t rank, std::int64_t ranks, Position start,
                         TransformResources resources, std::int64_t bad_before) {
  LoaderOptions options = common_options(config, rank, ranks);
  options.epochs = config.train.epochs;
  options.start = start;
  options.bad_before = bad_before;
  return Loader(open_source(config.data.train), TransformChain(config.train_transforms, std::move(resources)),
                std::move(options));
}

Loader make_eval_loader(const RunConfig& config, TransformResources resources, std::int64_t rank,
                        std::int64_t ranks) {
  LoaderOptions options = common_options(config, rank, ranks);
  options.sampler.shuffle = false;
  options.sampler.drop_last = false;
  options.bad_rows = BadRows::Drop;
  return Loader(open_source(config.data.eval), TransformChain(config.eval_transforms, std::move(resources)),
                std::move(options));
}

void for_each_batch(const Loader& loader, const std::function<void(Batch&)>& use) {
  scheduler::TaskGraph graph("evaluate");
  const scheduler::Flow<Batch> batches = loader.add_to(graph);
  graph.outlet(batches);
  scheduler::GraphRunner runner(graph);
  runner.start();
  for (Batch& batch : *runner.channel(batches)) use(batch);
  runner.join();
}

}  // namespace creel::pipeline
