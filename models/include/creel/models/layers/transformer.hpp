#pragma once

#include <creel/models/layers/activation.hpp>
#include <creel/models/layers/attention.hpp>
#include <creel/models/layers/layer_norm.hpp>
#include <creel/models/layers/linear.hpp>
#include <creel/models/module.hpp>

#include <cstdint>
#include <string>

namespace creel::nn {

struct TransformerOptions {
  std::int64_t width;
  std::int64_t layers;
  std::int64_t heads;
  std::int64_t mlp;        ///< hidden width of the MLP
  std::string activation;  ///< see activation()
};

/// Linear, activation, linear. Children: fc1, fc2.
class Mlp : public Module {
 public:
  Mlp(std::int64_t width, std::int64_t hidden, ActivationFunction activation);

  Tensor forward(const Tensor& x) const;

  Linear& fc1() const noexcept { return fc1_; }
  Linear& fc2() const noexcept { return fc2_; }

 private:
  ActivationFunction activation_;
  Linear& fc1_;
  Linear& fc2_;
};

/// x + attention(norm(x)), then x + mlp(norm(x)): the pre-norm residual block.
/// Children: self_attn, layer_norm1, mlp, layer_norm2.
class TransformerBlock : public Module {
 public:
  explicit TransformerBlock(const TransformerOptions& options);

  Tensor forward(const Tensor& x, const AttentionMask& mask, AttentionCache* cache) const;

  Attention& attention() const noexcept { return self_attn_; }
  Mlp& mlp() const noexcept { return mlp_; }

 private:
  Attention& self_attn_;
  LayerNorm& layer_norm1_;
  Mlp& mlp_;
  LayerNorm& layer_norm2_;
};

/// A stack of blocks. Children: layers.0, layers.1, …
class Transformer : public Module {
 public:
  explicit Transformer(const TransformerOptions& options);

  /// x [B, L, width] → [B, L, width].
  Tensor forward(Tensor x, const AttentionMask& mask = {}, Cache* cache = nullptr) const;

  std::size_t size() const noexcept { return layers_.size(); }
  TransformerBlock& operator[](std::size_t index) const { return layers_[index]; }

 private:
  ModuleList<TransformerBlock>& layers_;
};

}  // namespace creel::nn
