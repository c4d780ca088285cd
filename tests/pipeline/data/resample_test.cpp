#include "data_files.hpp"

#include <creel/pipeline/data/resample.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

using creel::pipeline::ElementType;
using creel::pipeline::HostTensor;
using creel::pipeline::Resampler;

namespace {

HostTensor pattern(std::uint32_t width, std::uint32_t height) {
  HostTensor image(ElementType::U8, {height, width, 3});
  const std::vector<std::uint8_t> pixels = creel_test::rgb_pattern(width, height);
  std::copy(pixels.begin(), pixels.end(), image.values<std::uint8_t>().begin());
  return image;
}

std::vector<int> values(const HostTensor& image) {
  const auto bytes = image.values<std::uint8_t>();
  return {bytes.begin(), bytes.end()};
}

}  // namespace

// Expected: Pillow 13.0.0, Image.frombytes("RGB", size, pattern).resize(size, Image.BILINEAR).tobytes().
TEST_CASE("resizing gives Pillow's bytes: reduced, enlarged, by a large factor") {
  Resampler resampler;
  CHECK(values(resampler.resize(pattern(13, 7), 3, 5)) ==
        std::vector<int>{99,  109, 124, 135, 121, 135, 132, 143, 102, 102, 128, 147, 138, 197, 98,
                         125, 104, 135, 124, 113, 131, 134, 138, 123, 117, 133, 112, 126, 174, 145,
                         155, 97,  129, 133, 135, 98,  123, 145, 128, 140, 135, 123, 146, 158, 130});
  CHECK(values(resampler.resize(pattern(3, 2), 4, 5)) ==
        std::vector<int>{0,   59,  118, 15,  74,  133, 37,  96,  155, 59,  118, 177, 74,  133, 192,
                         25,  84,  143, 42,  101, 134, 66,  125, 120, 90,  110, 144, 106, 101, 160,
                         76,  135, 194, 95,  154, 136, 123, 182, 49,  151, 94,  77,  169, 36,  95,
                         101, 160, 219, 121, 180, 137, 151, 210, 13,  181, 86,  43,  201, 4,   63});
  CHECK(values(resampler.resize(pattern(40, 30), 3, 4)) ==
        std::vector<int>{129, 136, 123, 129, 138, 128, 131, 135, 128, 126, 133, 130,
                         132, 134, 123, 136, 117, 120, 131, 121, 125, 134, 121, 123,
                         127, 136, 126, 131, 123, 125, 129, 125, 126, 125, 128, 125});
}

TEST_CASE("a size of its own changes nothing, and a flat image stays flat") {
  Resampler resampler;
  CHECK(values(resampler.resize(pattern(9, 4), 4, 9)) == values(pattern(9, 4)));
  HostTensor flat(ElementType::U8, {5, 5, 3});
  std::fill(flat.values<std::uint8_t>().begin(), flat.values<std::uint8_t>().end(), std::uint8_t{255});
  for (const int value : values(resampler.resize(flat, 17, 3))) CHECK(value == 255);
}

TEST_CASE("one resampler gives the same for a size whatever it did before") {
  Resampler used;
  used.resize(pattern(40, 30), 7, 7);
  used.resize(pattern(13, 30), 9, 7);
  Resampler fresh;
  CHECK(values(used.resize(pattern(13, 7), 3, 5)) == values(fresh.resize(pattern(13, 7), 3, 5)));
}
