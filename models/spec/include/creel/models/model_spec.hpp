#pragma once

#include <cstdint>
#include <string>
#include <variant>

namespace creel::models {

/// The image tower of a CLIP: a pre-norm ViT. Sizes in pixels and channels.
struct ClipImageSpec {
  std::int64_t size = 224;  ///< side of the square input
  std::int64_t patch = 32;  ///< side of a patch; divides size
  std::int64_t channels = 3;
  std::int64_t width = 768;
  std::int64_t layers = 12;
  std::int64_t heads = 12;  ///< divides width
  std::int64_t mlp = 0;     ///< hidden width of a block's MLP; 0 means 4 x width
};

/// The text tower of a CLIP: a causal pre-norm transformer, pooled at the end-of-text token.
struct ClipTextSpec {
  std::int64_t vocabulary = 49408;
  std::int64_t context = 77;  ///< tokens of a caption, start and end included
  std::int64_t width = 512;
  std::int64_t layers = 12;
  std::int64_t heads = 8;
  std::int64_t mlp = 0;
  std::int64_t bos = 49406;
  std::int64_t eos = 49407;
};

struct ClipSpec {
  ClipImageSpec image;
  ClipTextSpec text;
  std::int64_t embed = 512;               ///< width of the shared embedding
  std::string activation = "quick_gelu";  ///< quick_gelu | gelu
  double temperature = 0.07;              ///< initial; logit_scale starts at ln(1 / temperature)
};

/// What a model is made from: its registered name and its own typed options. Free of LibTorch, so that a
/// config is checked without loading it.
struct ModelSpec {
  std::string name;
  std::variant<ClipSpec> options;
};

}  // namespace creel::models
