#pragma once

#include <creel/models/layers/linear.hpp>
#include <creel/models/module.hpp>

#include <cstdint>
#include <vector>

namespace creel::nn {

/// Keys and values that one attention layer has seen, [B, H, length, D]; undefined before the first piece.
struct AttentionCache {
  Tensor key;
  Tensor value;
};

/// What a causal transformer keeps between the pieces of a sequence: give the same Cache to each forward and
/// the result is that of the whole sequence. For inference: gradients do not flow to earlier pieces.
struct Cache {
  std::vector<AttentionCache> layers;

  /// Tokens seen so far.
  std::int64_t length() const {
    return layers.empty() || !layers[0].key.defined() ? 0 : layers[0].key.size(2);
  }
};

/// Which keys a query may see.
struct AttentionMask {
  bool causal = false;  ///< query i sees keys 0 … i
  Tensor
      bias;  ///< added to the scores, broadcasts to [B, H, Lq, Lk]; holds the causal rule itself if defined
};

/// The mask of a causal transformer for `queries` new tokens after `past` cached ones. `padding` [B, past +
/// queries] is 1 (or true) at tokens and 0 at padding; undefined means none. A row that is all padding
/// attends evenly instead of giving NaN.
AttentionMask causal_mask(std::int64_t past, std::int64_t queries, const Tensor& padding = {});

/// Multi-head self-attention with separate projections. Children: k_proj, v_proj, q_proj, out_proj.
/// Source: Vaswani et al. 2017, section 3.2.2.
class Attention : public Module {
 public:
  /// Throws Error with code Config unless heads divides width.
  Attention(std::int64_t width, std::int64_t heads);

  /// x [B, L, width] → [B, L, width]. With a cache, x continues the sequence in it.
  Tensor forward(const Tensor& x, const AttentionMask& mask = {}, AttentionCache* cache = nullptr) const;

  Linear& k_proj() const noexcept { return k_proj_; }
  Linear& v_proj() const noexcept { return v_proj_; }
  Linear& q_proj() const noexcept { return q_proj_; }
  Linear& out_proj() const noexcept { return out_proj_; }

 private:
  Tensor split_heads(const Tensor& x) const;

  std::int64_t heads_;
  Linear& k_proj_;
  Linear& v_proj_;
  Linear& q_proj_;
  Linear& out_proj_;
};

}  // namespace creel::nn
