#pragma once

#include <creel/models/tensor_map.hpp>

/// Names of the tensors that models take and give, and typed views of the outputs.
namespace creel::models {

namespace names {
inline constexpr char pixel_values[] = "pixel_values";  ///< [B, 3, H, W] float32, normalised
inline constexpr char input_ids[] = "input_ids";        ///< [B, L] int64
inline constexpr char attention_mask[] =
    "attention_mask";  ///< [B, L] int64 or bool: 1 = a token, 0 = padding

inline constexpr char image_embeds[] = "image_embeds";  ///< [B, D] of length 1
inline constexpr char text_embeds[] = "text_embeds";    ///< [B, D] of length 1
inline constexpr char logits_per_image[] =
    "logits_per_image";                                     ///< [images, texts]: exp(logit_scale) · cosine
inline constexpr char logit_scale[] = "logit_scale";        ///< scalar: natural logarithm of the scale
inline constexpr char image_features[] = "image_features";  ///< [B, D], before normalisation
inline constexpr char text_features[] = "text_features";    ///< [B, D], before normalisation
inline constexpr char image_hidden[] = "image_hidden";      ///< [B, 1 + patches, width], last hidden state
inline constexpr char text_hidden[] = "text_hidden";        ///< [B, L, width], last hidden state
}  // namespace names

/// The outputs of a dual encoder; what was not computed is undefined.
struct Embeddings {
  at::Tensor image;             ///< image_embeds
  at::Tensor text;              ///< text_embeds
  at::Tensor logit_scale;       ///< logit_scale
  at::Tensor logits_per_image;  ///< logits_per_image

  static Embeddings of(const nn::Outputs& outputs) {
    return {outputs.find(names::image_embeds), outputs.find(names::text_embeds),
            outputs.find(names::logit_scale), outputs.find(names::logits_per_image)};
  }
};

}  // namespace creel::models
