#include <creel/pipeline/data/transform_registry.hpp>

namespace creel::pipeline {
namespace {

/// resize(side) or resize(height, width): image u8 [H, W, 3] → u8 [height, width, 3], antialiased bilinear.
/// Squashes: the whole image is kept, its aspect ratio is not.
class Resize final : public Transform {
 public:
  Resize(std::int64_t height, std::int64_t width) : height_(height), width_(width) {}

  std::string_view needs() const noexcept override { return "image"; }
  std::string_view makes() const noexcept override { return "image"; }

  std::optional<Failure> apply(Sample& sample, RandomStream&, Scratch& scratch) const override {
    auto* const image = sample.get<HostTensor>("image");
    if (image == nullptr) return Failure{ErrorCode::Data, "the sample has no image"};
    if (image->shape()[0] == height_ && image->shape()[1] == width_) return std::nullopt;
    *image = scratch.resampler.resize(*image, height_, width_);
    return std::nullopt;
  }

 private:
  std::int64_t height_;
  std::int64_t width_;
};

}  // namespace

void register_resize(TransformRegistry& registry);
void register_resize(TransformRegistry& registry) {
  registry.add("resize", [](ArgumentReader& arguments) {
    const std::int64_t height = arguments.integer("height", 1, 16384);
    const std::int64_t width = arguments.more() ? arguments.integer("width", 1, 16384) : height;
    return std::make_unique<Resize>(height, width);
  });
}

}  // namespace creel::pipeline
