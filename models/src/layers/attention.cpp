#include <creel/models/functional.hpp>
#include <creel/models/layers/attention.hpp>
#include <creel/runtime/error.hpp>

#include <limits>
#include <string>

namespace creel::nn {

AttentionMask causal_mask(std::int64_t past, std::int64_t queries, const Tensor& padding) {
  if (!padding.defined() && past == 0) return {.causal = true, .bias = {}};
  const Tensor keys = arange(past + queries, padding.defined() ? padding : zeros({0}));
  Tensor seen =
      keys.unsqueeze(0).le((keys.narrow(0, past, queries)).unsqueeze(1));  // [queries, past + queries]
  if (padding.defined()) {
    seen = seen.unsqueeze(0).logical_and(padding.to(at::kBool).unsqueeze(1)).unsqueeze(1);  // [B, 1, Lq, Lk]
  }
  // The lowest finite number, not -inf: a row that sees nothing becomes uniform, not NaN.
  return {.causal = false, .bias = where(seen, 0.0, std::numeric_limits<float>::lowest())};
}

namespace {

std::int64_t checked_heads(std::int64_t width, std::int64_t heads) {
  if (heads < 1 || width % heads != 0) {
    throw Error("heads " + std::to_string(heads) + " does not divide width " + std::to_string(width),
                ErrorCode::Config);
  }
  return heads;
}

}  // namespace

Attention::Attention(std::int64_t width, std::int64_t heads)
    : heads_(checked_heads(width, heads)),
      k_proj_(add<Linear>("k_proj", width, width)),
      v_proj_(add<Linear>("v_proj", width, width)),
      q_proj_(add<Linear>("q_proj", width, width)),
      out_proj_(add<Linear>("out_proj", width, width)) {}

Tensor Attention::forward(const Tensor& x, const AttentionMask& mask, AttentionCache* cache) const {
  const Tensor q = split_heads(q_proj_.forward(x));
  Tensor k = split_heads(k_proj_.forward(x));
  Tensor v = split_heads(v_proj_.forward(x));
  if (cache) {
    if (cache->key.defined()) {
      k = cat({cache->key, k}, 2);
      v = cat({cache->value, v}, 2);
    }
    cache->key = k.detach();
    cache->value = v.detach();
  }
  const Tensor mixed = nn::attention(q, k, v, mask.bias, mask.causal);
  return out_proj_.forward(mixed.transpose(1, 2).flatten(2));
}

Tensor Attention::split_heads(const Tensor& x) const {
  return x.view({x.size(0), x.size(1), heads_, x.size(2) / heads_}).transpose(1, 2);
}

}  // namespace creel::nn
