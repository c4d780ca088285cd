#include <creel/pipeline/train/gather.hpp>
#include <creel/pipeline/train/train_step.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <array>
#include <cmath>
#include <csignal>
#include <string>

namespace creel::pipeline {

TrainStep::TrainStep(const Parts& parts)
    : parts_(parts), data_parallel_(parts.model.named_parameters(), parts.group) {
  peers_.rank = parts.group.rank();
  peers_.size = parts.group.size();
  peers_.all_gather = [&group = parts.group](const at::Tensor& x) {
    return all_gather_with_gradient(x, group);
  };
}

TrainStep::Outcome TrainStep::run(const nn::Inputs& inputs, std::int64_t step, int stop_signal) {
  const std::string name = "stage step, step " + std::to_string(step + 1);
  Activity activity{name + ", forward"};
  const nn::Outputs outputs = parts_.model.forward(inputs);
  const at::Tensor loss = parts_.objective.loss(outputs, peers_);

  activity.set(name + ", backward");
  parts_.model.zero_grad();
  loss.backward();
  data_parallel_.finish();

  const Outcome outcome = agree(loss.item<double>(), stop_signal);
  if (!std::isfinite(outcome.loss)) {
    throw Error("the loss of step " + std::to_string(step + 1) + " is " + std::to_string(outcome.loss) +
                "; the weights are still those of the step before. Lower train.optimizer.lr or lengthen " +
                "train.schedule.warmup, and go on with --resume");
  }
  activity.set(name + ", update");
  parts_.optimizer.step(parts_.schedule.at(step));
  parts_.model.constrain();
  return outcome;
}

TrainStep::Outcome TrainStep::agree(double loss, int stop_signal) {
  // One small all-reduce carries the loss and the votes to stop: all ranks must leave after the same step.
  std::array<double, 3> sums{loss, stop_signal == SIGTERM ? 1.0 : 0.0, stop_signal == SIGINT ? 1.0 : 0.0};
  parts_.group.all_reduce({sums.data(), sums.size(), comm::DType::F64}, comm::ReduceOp::Sum, "loss");
  const int agreed = sums[1] > 0 ? SIGTERM : sums[2] > 0 ? SIGINT : 0;
  return {sums[0] / parts_.group.size(), agreed};
}

}  // namespace creel::pipeline
