#include "zero_shot_evaluator.hpp"

#include "batch_inputs.hpp"

#include <creel/models/functional.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/zero_shot.hpp>
#include <creel/pipeline/data/loader.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <array>
#include <utility>
#include <variant>

namespace creel::pipeline {
namespace {

constexpr const char* kLabel = "label";

void count_hits(const models::Model& model, const at::Tensor& classes, Batch& batch, Accuracy& accuracy) {
  const nn::NoGradGuard no_gradient;
  const nn::Inputs inputs = batch_inputs(batch);
  const nn::Outputs outputs =
      model.forward({{models::names::pixel_values, inputs.at(models::names::pixel_values)}});
  const at::Tensor best = outputs.at(models::names::image_embeds).matmul(classes.t()).argmax(1).contiguous();
  const auto* predicted = best.const_data_ptr<std::int64_t>();
  const std::span<const std::int64_t> labels = batch.tensor(kLabel).values<std::int64_t>();
  for (std::size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < 0 || labels[row] >= classes.size(0)) {
      throw Error(batch.keys[row] + ": label " + std::to_string(labels[row]) +
                      " has no name in evaluate.classes, which has " + std::to_string(classes.size(0)),
                  ErrorCode::Data);
    }
    if (predicted[row] == labels[row]) ++accuracy.correct;
    ++accuracy.total;
  }
}

}  // namespace

Accuracy zero_shot_accuracy(models::Model& model, std::shared_ptr<const models::Tokenizer> tokenizer,
                            const RunConfig& config, comm::Group& group) {
  const Activity activity{"zero-shot evaluation"};
  const bool was_training = model.is_training();
  model.eval();
  const std::int64_t context = std::get<models::ClipSpec>(config.model.options).text.context;
  const at::Tensor classes =
      models::class_embeddings(model, *tokenizer, config.evaluate.classes, config.evaluate.prompts, context);
  Accuracy mine;
  const Loader loader =
      make_eval_loader(config, {.tokenizer = std::move(tokenizer)}, group.rank(), group.size());
  for_each_batch(loader, [&](Batch& batch) { count_hits(model, classes, batch, mine); });
  model.train(was_training);
  std::array<std::int64_t, 2> sums{mine.correct, mine.total};
  group.all_reduce({sums.data(), sums.size(), comm::DType::I64}, comm::ReduceOp::Sum, "accuracy");
  return {sums[0], sums[1]};
}

}  // namespace creel::pipeline
