#include <creel/models/functional.hpp>
#include <creel/models/layers/transformer.hpp>

namespace creel::nn {

Mlp::Mlp(std::int64_t width, std::int64_t hidden, ActivationFunction activation)
    : activation_(activation),
      fc1_(add<Linear>("fc1", width, hidden)),
      fc2_(add<Linear>("fc2", hidden, width)) {}

Tensor Mlp::forward(const Tensor& x) const { return fc2_.forward(activation_(fc1_.forward(x))); }

TransformerBlock::TransformerBlock(const TransformerOptions& options)
    : self_attn_(add<Attention>("self_attn", options.width, options.heads)),
      layer_norm1_(add<LayerNorm>("layer_norm1", options.width)),
      mlp_(add<Mlp>("mlp", options.width, options.mlp, activation(options.activation))),
      layer_norm2_(add<LayerNorm>("layer_norm2", options.width)) {}

Tensor TransformerBlock::forward(const Tensor& x, const AttentionMask& mask, AttentionCache* cache) const {
  const Tensor attended = x + self_attn_.forward(layer_norm1_.forward(x), mask, cache);
  return attended + mlp_.forward(layer_norm2_.forward(attended));
}

Transformer::Transformer(const TransformerOptions& options)
    : layers_(add<ModuleList<TransformerBlock>>("layers")) {
  for (std::int64_t i = 0; i < options.layers; ++i) layers_.append(options);
}

Tensor Transformer::forward(Tensor x, const AttentionMask& mask, Cache* cache) const {
  if (cache) cache->layers.resize(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    x = layers_[i].forward(x, mask, cache ? &cache->layers[i] : nullptr);
  }
  return x;
}

}  // namespace creel::nn
