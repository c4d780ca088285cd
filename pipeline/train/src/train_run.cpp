#include "train_run.hpp"

#include "batch_inputs.hpp"
#include "stop_signal.hpp"
#include "zero_shot_evaluator.hpp"

#include <creel/models/execution.hpp>
#include <creel/models/pretrained.hpp>
#include <creel/models/registry.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>
#include <creel/scheduler/graph_runner.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <span>
#include <utility>
#include <variant>

namespace creel::pipeline {
namespace {

std::unique_ptr<models::Model> make_model(const RunConfig& config) {
  std::unique_ptr<models::Model> model = models::Registry::builtin().create(config.model);
  model->initialize(static_cast<std::uint64_t>(config.train.seed));
  return model;
}

models::AdamW make_optimizer(const models::Model& model, const OptimizerConfig& config) {
  return models::AdamW(models::decay_groups(model.named_parameters(), config.weight_decay),
                       {.beta1 = config.beta1, .beta2 = config.beta2, .eps = config.eps});
}

double seconds_between(std::chrono::steady_clock::time_point from, std::chrono::steady_clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

std::string step_name(const Batch& batch) {
  return "epoch " + std::to_string(batch.position.epoch) + " batch " + std::to_string(batch.position.step);
}

}  // namespace

TrainRun::TrainRun(const RankOptions& options, RunConfig config, comm::Group& group, comm::World* world)
    : options_(options),
      config_(std::move(config)),
      group_(group),
      world_(world),
      tokenizer_(models::load_clip_merges(models::default_bpe_vocabulary())),
      model_(make_model(config_)),
      objective_(models::ObjectiveRegistry::builtin().create(config_.objective)),
      optimizer_(make_optimizer(*model_, config_.train.optimizer)),
      state_({config_, *model_, *objective_, optimizer_, group_, bad_}),
      checkpoints_(options.run_dir, config_.checkpoint.keep, group.rank() == 0) {
  // Ranks draw different numbers (dropout), always the same ones.
  nn::manual_seed(static_cast<std::uint64_t>(config_.train.seed) * 1000003u +
                  static_cast<std::uint64_t>(group.rank()));
  steps_per_epoch_ =
      make_train_loader(config_, group.rank(), group.size(), {}, {.tokenizer = tokenizer_}).steps_per_epoch();
  total_steps_ = config_.train.epochs * steps_per_epoch_;
  if (config_.train.steps > 0) total_steps_ = std::min(total_steps_, config_.train.steps);
}

int TrainRun::run() {
  const StopSignal stop_signal;
  find_start();
  if (complete_) {
    if (leads())
      std::printf("%s is complete: %lld steps and a result\n", options_.run_dir.c_str(),
                  static_cast<long long>(done_));
    return 0;
  }
  if (leads()) {
    metrics_.emplace(options_.run_dir, done_);
    if (options_.resume) metrics_->resume(done_);
  }
  if (const int signal = train()) return 128 + signal;
  write_result();
  return 0;
}

void TrainRun::find_start() {
  if (!options_.resume) return;
  // Rank 0 decides for all: what the others see of the folder may already be changing when they look.
  std::array<std::int64_t, 2> found{-1, 0};
  if (leads()) {
    found[0] = checkpoints_.latest().value_or(-1);
    found[1] = has_result(options_.run_dir) ? 1 : 0;
  }
  group_.broadcast({found.data(), found.size(), comm::DType::I64}, 0);
  if (found[0] < 0) {
    if (leads()) {
      std::fprintf(stderr, "%s has no checkpoint yet; starting at step 0\n", options_.run_dir.c_str());
    }
    return;
  }
  state_.restore(checkpoints_.load(found[0]));
  done_ = found[0];
  complete_ = found[1] == 1 && done_ >= total_steps_;
  if (leads() && !complete_) {
    std::fprintf(stderr, "resuming at step %lld of %lld\n", static_cast<long long>(done_),
                 static_cast<long long>(total_steps_));
  }
}

int TrainRun::train() {
  first_ = done_;
  if (done_ >= total_steps_) return 0;
  models::CosineSchedule schedule{config_.train.optimizer.lr, config_.train.schedule.warmup, total_steps_};
  step_.emplace(TrainStep::Parts{*model_, *objective_, optimizer_, schedule, group_});
  progress_.emplace(config_.name, !leads());

  const Position start{done_ / steps_per_epoch_, done_ % steps_per_epoch_};
  const std::int64_t bad_before = bad_.epoch == start.epoch ? bad_.rows_of_epoch : 0;
  Loader loader =
      make_train_loader(config_, group_.rank(), group_.size(), start, {.tokenizer = tokenizer_}, bad_before);
  scheduler::TaskGraph graph{"train " + config_.name};
  graph.sink(
      loader.add_to(graph), {.name = "step"}, [this](Batch batch) { return on_batch(batch); },
      scheduler::ItemName<Batch>(step_name));
  scheduler::GraphRunner runner{graph};
  const Clock::time_point begun = Clock::now();
  step_ended_ = begun;
  runner.run();
  training_seconds_ = seconds_between(begun, Clock::now());
  progress_->finish();
  if (stop_signal_ != 0 && done_ % config_.checkpoint.every != 0) save_checkpoint(done_);
  checkpoints_.flush();
  if (leads()) std::printf("%s\n", scheduler::to_table(runner.stats()).c_str());
  if (leads() && stop_signal_ != 0) {
    std::printf("stopped after step %lld; go on with --resume\n", static_cast<long long>(done_));
  }
  return stop_signal_;
}

bool TrainRun::on_batch(Batch& batch) {
  if (done_ == first_)
    nn::set_intra_op_threads(static_cast<int>(config_.train.threads));  // LibTorch keeps it per thread
  const TrainStep::Outcome outcome = step_->run(batch_inputs(batch), done_, asked_to_stop());
  ++done_;
  bad_.add(batch);
  stop_signal_ = outcome.stop_signal;

  const Clock::time_point now = Clock::now();
  const double rate =
      static_cast<double>(config_.data.batch * group_.size()) / seconds_between(step_ended_, now);
  step_ended_ = now;
  if (leads()) {
    metrics_->step({done_, batch.position.epoch, outcome.loss, rate});
    progress_->update({done_, total_steps_, batch.position.epoch, config_.train.epochs, outcome.loss, rate});
  }
  if (done_ % config_.checkpoint.every == 0 || done_ == total_steps_) save_checkpoint(done_);
  return done_ < total_steps_ && stop_signal_ == 0;
}

void TrainRun::save_checkpoint(std::int64_t step) {
  const Checkpoint checkpoint = state_.capture(step);
  if (leads()) checkpoints_.save(checkpoint);
}

void TrainRun::write_result() {
  Accuracy accuracy;
  const bool evaluated = !config_.data.eval.format.empty() && !config_.evaluate.classes.empty();
  if (evaluated) accuracy = zero_shot_accuracy(*model_, tokenizer_, config_, group_);
  const std::set<std::string> bad = gather_bad_keys(group_, bad_);
  if (!leads()) return;

  const Activity activity{"writing the model"};
  model_->eval();
  models::save_pretrained(*model_, options_.run_dir);
  tokenizer_->save(options_.run_dir, std::get<models::ClipSpec>(config_.model.options).text.context);
  const auto images = static_cast<double>((done_ - first_) * config_.data.batch * group_.size());
  const double rate = training_seconds_ > 0 ? images / training_seconds_ : 0.0;
  const double seconds = seconds_between(started_, Clock::now());
  metrics_->result(
      {evaluated ? accuracy.top1() : -1.0, rate, seconds, static_cast<std::int64_t>(bad.size())});
  if (evaluated) {
    std::printf("zero-shot top-1 %.4f (%lld of %lld images)\n", accuracy.top1(),
                static_cast<long long>(accuracy.correct), static_cast<long long>(accuracy.total));
  }
  std::printf("%lld steps, %.0f images/s, %s in all; %zu bad samples\n", static_cast<long long>(done_), rate,
              format_duration(seconds).c_str(), bad.size());
  for (const std::string& key : bad) std::printf("  bad sample: %s\n", key.c_str());
  std::printf("model, tokenizer and metrics are in %s\n", options_.run_dir.c_str());
}

int TrainRun::asked_to_stop() const {
  if (const int signal = StopSignal::received()) return signal;
  return world_ == nullptr ? 0 : world_->stop_requested();
}

}  // namespace creel::pipeline
