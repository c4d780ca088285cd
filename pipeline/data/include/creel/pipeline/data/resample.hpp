#pragma once

#include <creel/pipeline/data/host_tensor.hpp>

#include <cstdint>
#include <vector>

namespace creel::pipeline {

/// Resizes images with an antialiased bilinear (triangle) filter, in two passes with 8 bits between them: the
/// arithmetic of Pillow's BILINEAR, whose results it gives. Keeps its tables and its middle image between
/// calls, so one object serves one thread.
class Resampler {
 public:
  /// image u8 [H, W, 3] → u8 [height, width, 3]. The aspect ratio changes if the sizes ask for it.
  HostTensor resize(const HostTensor& image, std::int64_t height, std::int64_t width);

 private:
  // For each output: which inputs it sums, and their weights as fixed-point numbers.
  struct Axis {
    std::int64_t from = 0;
    std::int64_t to = 0;
    std::size_t taps = 0;             // weights kept for each output
    std::vector<std::int64_t> first;  // first input of each output
    std::vector<std::size_t> count;
    std::vector<std::int32_t> weights;  // taps for each output
    void prepare(std::int64_t inputs, std::int64_t outputs);
  };

  Axis horizontal_;
  Axis vertical_;
  std::vector<std::uint8_t> middle_;
  std::vector<std::int32_t> sums_;
};

}  // namespace creel::pipeline
