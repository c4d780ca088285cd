#include <creel/models/functional.hpp>
#include <creel/models/optimizer.hpp>
#include <creel/models/state_dict.hpp>
#include <creel/runtime/error.hpp>

#include <utility>

namespace creel::models {

std::vector<ParameterGroup> decay_groups(const nn::TensorMap& parameters, double weight_decay) {
  ParameterGroup decay{"decay", {}, weight_decay};
  ParameterGroup no_decay{"no_decay", {}, 0};
  for (const auto& [name, parameter] : parameters) {
    (parameter.dim() >= 2 ? decay : no_decay).parameters.set(name, parameter);
  }
  return {std::move(decay), std::move(no_decay)};
}

AdamW::AdamW(std::vector<ParameterGroup> groups, AdamWOptions options)
    : groups_(std::move(groups)), options_(options) {
  for (const ParameterGroup& group : groups_) {
    std::vector<Moments>& moments = moments_.emplace_back();
    for (const auto& [name, parameter] : group.parameters) {
      if (parameter.scalar_type() != at::kFloat || !parameter.is_contiguous()) {
        throw Error("AdamW: parameter '" + name + "' is not contiguous float32");
      }
      const at::Tensor like = parameter.detach();
      moments.push_back({nn::zeros_like(like), nn::zeros_like(like), nn::zeros({})});
    }
  }
}

void AdamW::step(double lr) {
  const nn::NoGradGuard no_grad;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    std::vector<at::Tensor> parameters, gradients, first, second, steps;
    std::size_t index = 0;
    for (const auto& [name, parameter] : groups_[g].parameters) {
      const Moments& moments = moments_[g][index++];
      if (!parameter.grad().defined()) continue;
      at::Tensor(moments.step).add_(1);
      parameters.push_back(parameter);
      gradients.push_back(parameter.grad().contiguous());
      first.push_back(moments.first);
      second.push_back(moments.second);
      steps.push_back(moments.step);
    }
    if (parameters.empty()) continue;
    nn::fused_adamw_(parameters, gradients, first, second, steps,
                     {lr, options_.beta1, options_.beta2, groups_[g].weight_decay, options_.eps});
  }
}

nn::TensorMap AdamW::state() const {
  nn::TensorMap out;
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    std::size_t index = 0;
    for (const auto& [name, parameter] : groups_[g].parameters) {
      const Moments& moments = moments_[g][index++];
      out.set("exp_avg." + name, moments.first);
      out.set("exp_avg_sq." + name, moments.second);
      out.set("step." + name, moments.step);
    }
  }
  return out;
}

void AdamW::load_state(const nn::TensorMap& saved, std::string_view origin) {
  load_tensors(state(), saved, origin);
}

double clip_gradient_norm(const nn::TensorMap& parameters, double max_norm) {
  const nn::NoGradGuard no_grad;
  std::vector<at::Tensor> gradients;
  for (const auto& [name, parameter] : parameters) {
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  }
  const double norm = nn::global_norm(gradients);
  if (const double factor = max_norm / (norm + 1e-6); factor < 1) {
    for (at::Tensor& gradient : gradients) gradient.mul_(factor);
  }
  return norm;
}

}  // namespace creel::models
