#include <creel/pipeline/data/resample.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace creel::pipeline {
namespace {

constexpr std::size_t kChannels = 3;
// As many fraction bits as let a sum of weights near 1 times 255 stay below 2^31.
constexpr int kFractionBits = 32 - 8 - 2;
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

std::uint8_t to_byte(std::int32_t fixed) noexcept {
  return static_cast<std::uint8_t>(std::clamp(fixed >> kFractionBits, 0, 255));
}

}  // namespace

void Resampler::Axis::prepare(std::int64_t inputs, std::int64_t outputs) {
  if (inputs == from && outputs == to) return;
  from = inputs;
  to = outputs;
  const double scale = static_cast<double>(inputs) / static_cast<double>(outputs);
  const double stretch = std::max(scale, 1.0);  // a reduction widens the filter: this is what antialiases
  const double support = stretch;               // the triangle reaches 1 to each side
  taps = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  first.resize(static_cast<std::size_t>(outputs));
  count.resize(static_cast<std::size_t>(outputs));
  weights.assign(static_cast<std::size_t>(outputs) * taps, 0);
  std::vector<double> exact(taps);
  for (std::size_t i = 0; i < first.size(); ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto low = std::max<std::int64_t>(static_cast<std::int64_t>(centre - support + 0.5), 0);
    const auto high = std::min<std::int64_t>(static_cast<std::int64_t>(centre + support + 0.5), inputs);
    first[i] = low;
    count[i] = static_cast<std::size_t>(high - low);
    double total = 0;
    for (std::size_t tap = 0; tap < count[i]; ++tap) {
      const double distance = (static_cast<double>(low) + static_cast<double>(tap) - centre + 0.5) / stretch;
      exact[tap] = std::max(0.0, 1.0 - std::abs(distance));
      total += exact[tap];
    }
    for (std::size_t tap = 0; tap < count[i]; ++tap) {
      const double weight = total == 0 ? exact[tap] : exact[tap] / total;
      weights[i * taps + tap] = static_cast<std::int32_t>(std::lround(weight * (1 << kFractionBits)));
    }
  }
}

HostTensor Resampler::resize(const HostTensor& image, std::int64_t height, std::int64_t width) {
  const std::int64_t rows = image.shape().at(0);
  const std::int64_t columns = image.shape().at(1);
  const std::uint8_t* const source = image.values<std::uint8_t>().data();
  horizontal_.prepare(columns, width);
  vertical_.prepare(rows, height);
  const std::size_t stride_in = static_cast<std::size_t>(columns) * kChannels;
  const std::size_t stride = static_cast<std::size_t>(width) * kChannels;

  middle_.resize(static_cast<std::size_t>(rows) * stride);
  for (std::size_t y = 0; y < static_cast<std::size_t>(rows); ++y) {
    const std::uint8_t* const line = source + y * stride_in;
    std::uint8_t* const out = middle_.data() + y * stride;
    for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
      const std::uint8_t* pixel = line + static_cast<std::size_t>(horizontal_.first[x]) * kChannels;
      const std::int32_t* const weight = &horizontal_.weights[x * horizontal_.taps];
      std::int32_t red = kHalf;
      std::int32_t green = kHalf;
      std::int32_t blue = kHalf;
      for (std::size_t tap = 0; tap < horizontal_.count[x]; ++tap, pixel += kChannels) {
        red += weight[tap] * pixel[0];
        green += weight[tap] * pixel[1];
        blue += weight[tap] * pixel[2];
      }
      out[x * kChannels] = to_byte(red);
      out[x * kChannels + 1] = to_byte(green);
      out[x * kChannels + 2] = to_byte(blue);
    }
  }

  HostTensor resized(ElementType::U8, {height, width, static_cast<std::int64_t>(kChannels)});
  std::uint8_t* const result = resized.values<std::uint8_t>().data();
  sums_.resize(stride);
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    std::fill(sums_.begin(), sums_.end(), kHalf);
    for (std::size_t tap = 0; tap < vertical_.count[y]; ++tap) {
      const std::int32_t weight = vertical_.weights[y * vertical_.taps + tap];
      const std::uint8_t* const line =
          middle_.data() + (static_cast<std::size_t>(vertical_.first[y]) + tap) * stride;
      for (std::size_t i = 0; i < stride; ++i) sums_[i] += weight * line[i];  // along the row: vector code
    }
    for (std::size_t i = 0; i < stride; ++i) result[y * stride + i] = to_byte(sums_[i]);
  }
  return resized;
}

}  // namespace creel::pipeline
