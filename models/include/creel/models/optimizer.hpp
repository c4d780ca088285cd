#pragma once

#include <creel/models/tensor_map.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace creel::models {

/// Parameters that share their options.
struct ParameterGroup {
  std::string name;
  nn::TensorMap parameters;
  double weight_decay = 0;
};

/// Splits parameters as CLIP does: those of two or more dimensions (matrices, convolutions, the tables of
/// token and position embeddings) into "decay" with `weight_decay`; gains, biases, the class embedding and
/// logit_scale, which have fewer, into "no_decay" with 0. Source: Radford et al. 2021, section 2.5.
std::vector<ParameterGroup> decay_groups(const nn::TensorMap& parameters, double weight_decay);

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.98;
  double eps = 1e-6;
};

/// Adam with decoupled weight decay; the step is that of torch.optim.AdamW. Element-wise and in a fixed
/// order: the same gradients give bitwise the same weights, however many threads there are. Source:
/// Loshchilov & Hutter 2019, algorithm 2.
class AdamW {
 public:
  /// Parameters are float32 and keep their identity: the handles are shared with the module.
  explicit AdamW(std::vector<ParameterGroup> groups, AdamWOptions options = {});

  /// Updates every parameter that has a gradient, at this learning rate.
  void step(double lr);

  /// The moments and step counts by name: exp_avg.P, exp_avg_sq.P, step.P for each parameter P. The tensors
  /// share the optimizer's memory; save them for an exact resume.
  nn::TensorMap state() const;

  /// Takes over a saved state bit for bit; throws Error of code Data, naming each misfit.
  void load_state(const nn::TensorMap& saved, std::string_view origin);

  const std::vector<ParameterGroup>& groups() const noexcept { return groups_; }

 private:
  struct Moments {
    at::Tensor first;
    at::Tensor second;
    at::Tensor step;
  };

  std::vector<ParameterGroup> groups_;
  AdamWOptions options_;
  std::vector<std::vector<Moments>> moments_;  // like groups_ and their parameters
};

/// Scales all gradients by one factor so that their joint L2 norm is at most max_norm; returns the norm
/// before.
double clip_gradient_norm(const nn::TensorMap& parameters, double max_norm);

}  // namespace creel::models
