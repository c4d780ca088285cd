#pragma once

#include <creel/models/layers/attention.hpp>
#include <creel/models/model_spec.hpp>
#include <creel/models/module.hpp>

#include <cstdint>
#include <vector>

namespace creel::models {

using nn::Inputs;
using nn::Outputs;
using nn::Tensor;
using nn::TensorMap;

/// A whole model, reached by name through the Registry. Inputs and outputs go by name; outputs.hpp has the
/// names.
class Model : public nn::Module {
 public:
  /// What the model was made from.
  const ModelSpec& spec() const noexcept { return spec_; }

  /// Computes what the given inputs allow; an input that is absent leaves out the outputs that need it. Each
  /// model's source lists its inputs and outputs with shapes. With a cache, a causal tower continues the
  /// sequence that the cache holds and appends to it. Throws Error with code Data, naming the input, if a
  /// shape, type or id does not fit.
  virtual Outputs forward(const Inputs& inputs, nn::Cache* cache = nullptr) const = 0;

  /// Draws fresh weights, as the model's paper or reference does. The same seed gives the same weights on
  /// every machine.
  virtual void initialize(std::uint64_t seed) = 0;

  /// Puts parameters back into their allowed range; the training step calls it after each optimizer step.
  virtual void constrain() {}

 protected:
  explicit Model(ModelSpec spec) : spec_(std::move(spec)) {}

 private:
  ModelSpec spec_;
};

}  // namespace creel::models
