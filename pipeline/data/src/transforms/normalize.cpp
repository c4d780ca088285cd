#include <creel/pipeline/data/transform_registry.hpp>

#include <array>

namespace creel::pipeline {
namespace {

constexpr std::size_t kChannels = 3;
using PerChannel = std::array<double, kChannels>;

/// normalize(mean, std), normalize(r, g, b means, r, g, b stds), normalize(clip) or normalize(imagenet):
/// image u8 [H, W, 3] → pixel_values f32 [3, H, W] = (pixel / 255 - mean) / std.
class Normalize final : public Transform {
 public:
  Normalize(const PerChannel& mean, const PerChannel& deviation) {
    for (std::size_t channel = 0; channel < kChannels; ++channel) {
      for (std::size_t level = 0; level < 256; ++level) {
        table_[channel][level] =
            static_cast<float>((static_cast<double>(level) / 255 - mean[channel]) / deviation[channel]);
      }
    }
  }

  std::string_view needs() const noexcept override { return "image"; }
  std::string_view makes() const noexcept override { return "pixel_values"; }

  std::optional<Failure> apply(Sample& sample, RandomStream&, Scratch&) const override {
    const auto* const image = sample.get<HostTensor>("image");
    if (image == nullptr) return Failure{ErrorCode::Data, "the sample has no image"};
    const std::int64_t height = image->shape()[0];
    const std::int64_t width = image->shape()[1];
    HostTensor values(ElementType::F32, {static_cast<std::int64_t>(kChannels), height, width});
    const std::uint8_t* const pixels = image->values<std::uint8_t>().data();
    const std::size_t plane = static_cast<std::size_t>(height * width);
    for (std::size_t channel = 0; channel < kChannels; ++channel) {
      float* const out = values.values<float>().data() + channel * plane;
      for (std::size_t i = 0; i < plane; ++i) out[i] = table_[channel][pixels[i * kChannels + channel]];
    }
    sample.remove("image");
    sample.set("pixel_values", std::move(values));
    return std::nullopt;
  }

 private:
  std::array<std::array<float, 256>, kChannels> table_{};  // the formula, once for each of the 256 levels
};

std::unique_ptr<Transform> from_arguments(ArgumentReader& arguments) {
  if (arguments.next_is_word()) {
    const bool clip = arguments.word("statistics", {"clip", "imagenet"}) == "clip";
    if (clip) {
      return std::make_unique<Normalize>(PerChannel{0.48145466, 0.4578275, 0.40821073},
                                         PerChannel{0.26862954, 0.26130258, 0.27577711});
    }
    return std::make_unique<Normalize>(PerChannel{0.485, 0.456, 0.406}, PerChannel{0.229, 0.224, 0.225});
  }
  const bool each = arguments.count() > 2;
  PerChannel mean{};
  PerChannel deviation{};
  for (std::size_t i = 0; i < kChannels; ++i)
    mean[i] = i == 0 || each ? arguments.number("mean", -100, 100) : mean[0];
  for (std::size_t i = 0; i < kChannels; ++i) {
    deviation[i] = i == 0 || each ? arguments.number("std", 1e-6, 100) : deviation[0];
  }
  return std::make_unique<Normalize>(mean, deviation);
}

}  // namespace

void register_normalize(TransformRegistry& registry);
void register_normalize(TransformRegistry& registry) { registry.add("normalize", from_arguments); }

}  // namespace creel::pipeline
