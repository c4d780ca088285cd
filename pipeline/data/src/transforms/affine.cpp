#include <creel/pipeline/data/transform_registry.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

namespace creel::pipeline {
namespace {

// From a pixel of the output to the place in the input that it shows, both from the centre of the image.
struct Inverse {
  float xx, xy, yx, yy, x0, y0;
};

/// affine(degrees, translate = 0, scale = 0): turns an image by up to ± degrees about its centre, moves it by
/// up to ± translate of its sides and scales it by 1 - scale to 1 + scale, each drawn evenly and alone.
/// Bilinear; what comes from outside is black. image u8 [H, W, 3] → the same shape.
class Affine final : public Transform {
 public:
  Affine(double degrees, double translate, double scale)
      : radians_(static_cast<float>(degrees * std::numbers::pi / 180)),
        translate_(static_cast<float>(translate)),
        scale_(static_cast<float>(scale)) {}

  std::string_view needs() const noexcept override { return "image"; }
  std::string_view makes() const noexcept override { return "image"; }

  std::optional<Failure> apply(Sample& sample, RandomStream& random, Scratch&) const override {
    auto* const image = sample.get<HostTensor>("image");
    if (image == nullptr) return Failure{ErrorCode::Data, "the sample has no image"};
    HostTensor warped(ElementType::U8, image->shape());
    warp(*image, warped, draw(random, image->shape()[0], image->shape()[1]));
    *image = std::move(warped);
    return std::nullopt;
  }

 private:
  Inverse draw(RandomStream& random, std::int64_t height, std::int64_t width) const {
    const float angle = random.uniform(-radians_, radians_);
    const float right = random.uniform(-translate_, translate_) * static_cast<float>(width);
    const float down = random.uniform(-translate_, translate_) * static_cast<float>(height);
    const float scale = random.uniform(1 - scale_, 1 + scale_);
    const float c = std::cos(angle) / scale;
    const float s = std::sin(angle) / scale;
    return {.xx = c, .xy = s, .yx = -s, .yy = c, .x0 = -(c * right + s * down), .y0 = s * right - c * down};
  }

  static void warp(const HostTensor& from, HostTensor& to, const Inverse& map) {
    const auto height = static_cast<int>(from.shape()[0]);
    const auto width = static_cast<int>(from.shape()[1]);
    const std::uint8_t* const source = from.values<std::uint8_t>().data();
    std::uint8_t* out = to.values<std::uint8_t>().data();
    const float middle_x = static_cast<float>(width - 1) / 2;
    const float middle_y = static_cast<float>(height - 1) / 2;
    for (int row = 0; row < height; ++row) {
      const float v = static_cast<float>(row) - middle_y;
      for (int column = 0; column < width; ++column, out += 3) {
        const float u = static_cast<float>(column) - middle_x;
        sample_at(source, height, width, map.xx * u + map.xy * v + map.x0 + middle_x,
                  map.yx * u + map.yy * v + map.y0 + middle_y, out);
      }
    }
  }

  // The four neighbours of (x, y), weighted by nearness; those outside count as black.
  static void sample_at(const std::uint8_t* source, int height, int width, float x, float y,
                        std::uint8_t* out) {
    const float floor_x = std::floor(x);
    const float floor_y = std::floor(y);
    if (!(floor_x >= -1 && floor_y >= -1 && floor_x < static_cast<float>(width) &&
          floor_y < static_cast<float>(height))) {
      std::fill_n(out, 3, std::uint8_t{0});
      return;
    }
    const float right = x - floor_x;
    const float down = y - floor_y;
    const int left_column = static_cast<int>(floor_x);
    const int top_row = static_cast<int>(floor_y);
    std::array<float, 3> sum{};
    for (int corner = 0; corner < 4; ++corner) {
      const int column = left_column + (corner & 1);
      const int row = top_row + (corner >> 1);
      if (column < 0 || column >= width || row < 0 || row >= height) continue;
      const float weight = ((corner & 1) != 0 ? right : 1 - right) * ((corner >> 1) != 0 ? down : 1 - down);
      const std::uint8_t* const pixel = source + (static_cast<std::ptrdiff_t>(row) * width + column) * 3;
      for (std::size_t channel = 0; channel < 3; ++channel)
        sum[channel] += weight * static_cast<float>(pixel[channel]);
    }
    for (std::size_t channel = 0; channel < 3; ++channel)
      out[channel] = static_cast<std::uint8_t>(sum[channel] + 0.5F);
  }

  float radians_;
  float translate_;
  float scale_;
};

}  // namespace

void register_affine(TransformRegistry& registry);
void register_affine(TransformRegistry& registry) {
  registry.add("affine", [](ArgumentReader& arguments) {
    const double degrees = arguments.number("degrees", 0, 180);
    const double translate = arguments.more() ? arguments.number("translate", 0, 1) : 0;
    const double scale = arguments.more() ? arguments.number("scale", 0, 0.9) : 0;
    return std::make_unique<Affine>(degrees, translate, scale);
  });
}

}  // namespace creel::pipeline
