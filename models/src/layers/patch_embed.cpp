#include <creel/models/functional.hpp>
#include <creel/models/layers/patch_embed.hpp>

namespace creel::nn {

PatchEmbed::PatchEmbed(std::int64_t channels, std::int64_t patch, std::int64_t width)
    : weight_(parameter("weight", {width, channels, patch, patch})), patch_(patch) {}

Tensor PatchEmbed::forward(const Tensor& x) const {
  return conv2d(x, weight_, /*bias=*/{}, patch_).flatten(2).transpose(1, 2);
}

}  // namespace creel::nn
