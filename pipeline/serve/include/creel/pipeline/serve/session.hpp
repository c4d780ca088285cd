#pragma once

#include <creel/pipeline/serve/inference_model.hpp>

#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

namespace creel::pipeline {

/// A finished dual-encoder run, ready to answer. Takes `image` (PNG files in base64) or `pixel_values`, and
/// `text` or `input_ids`; images and texts are rows of their own and need not be as many. Images and texts go
/// through the run's evaluation transforms, so that they become what the model was evaluated on.
///
/// | given          | answers |
/// |---             |--- | | images         | image_embeds; logits_per_image and probabilities over the run's
/// evaluate.classes, if it has any  | | texts          | text_embeds | | images, texts  | image_embeds,
/// text_embeds, logits_per_image and probabilities over the given texts               |
///
/// Embeddings have length 1. Class embeddings are those of evaluation: an ensemble over evaluate.prompts,
/// computed once.
class Session final : public InferenceModel {
 public:
  /// Reads config.yaml, config.json, model.safetensors and the tokenizer of RUN_DIR and answers a first
  /// request of its own. Throws Error that names the file: Missing if it is not there (also if the run has
  /// not ended: it says so), Data if it is damaged.
  explicit Session(const std::filesystem::path& run_dir);
  ~Session() override;

  const std::string& name() const noexcept override;
  std::span<const TensorSpec> inputs() const noexcept override;
  std::span<const TensorSpec> outputs() const noexcept override;
  /// The run's classes, in the order of probabilities for images alone.
  std::span<const std::string> classes() const noexcept;

  void enter_thread() const override;
  Result<std::vector<InferTensor>> infer(const InferRequest& request, std::stop_token stop) const override;

 private:
  class State;
  std::unique_ptr<const State> state_;
};

}  // namespace creel::pipeline
