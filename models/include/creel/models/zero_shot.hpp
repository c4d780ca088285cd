#pragma once

#include <creel/models/model.hpp>
#include <creel/models/tokenizer.hpp>

#include <span>
#include <string>

namespace creel::models {

/// Embeddings of classes that a dual encoder was never trained to name: each class name is put into each
/// prompt template in place of {}, the texts are embedded, their unit vectors averaged and brought back to
/// length 1. `context` is the number of tokens of a text. → [classes, D] float32, without gradient; class i
/// is classes[i].
///
/// The scores of images are then exp(logit_scale) · image_embeds · embeddingsᵀ, their softmax the
/// probabilities. Throws Error of code Config if there are no classes or no templates, or a template lacks
/// {}. Source: Radford et al. 2021, section 3.1.4 (prompt ensembling in embedding space).
at::Tensor class_embeddings(const Model& model, const Tokenizer& tokenizer,
                            std::span<const std::string> classes, std::span<const std::string> templates,
                            std::int64_t context);

/// The template with every {} replaced.
std::string fill_prompt(const std::string& prompt, const std::string& class_name);

}  // namespace creel::models
