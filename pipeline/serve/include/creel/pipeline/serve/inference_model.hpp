#pragma once

#include <creel/pipeline/serve/inference_protocol.hpp>

#include <cstdint>
#include <span>
#include <stop_token>
#include <string>

namespace creel::pipeline {

/// What the service answers from. infer() is called by several threads at once.
class InferenceModel {
 public:
  virtual ~InferenceModel() = default;

  virtual const std::string& name() const noexcept = 0;
  virtual std::span<const TensorSpec> inputs() const noexcept = 0;
  virtual std::span<const TensorSpec> outputs() const noexcept = 0;

  /// Called once by each thread that will call infer(): what LibTorch keeps per thread is set here.
  virtual void enter_thread() const {}

  /// Answers a request that agrees with inputs() and outputs(). A failure is the client's (400): a PNG that
  /// is none, a token past the vocabulary. Throws CancelledError soon after `stop` is requested; any other
  /// error is ours (500).
  virtual Result<std::vector<InferTensor>> infer(const InferRequest& request, std::stop_token stop) const = 0;
};

}  // namespace creel::pipeline
