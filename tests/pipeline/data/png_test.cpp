#include "data_files.hpp"

#include <creel/pipeline/data/png.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <vector>

using creel::Result;
using creel::pipeline::Bytes;
using creel::pipeline::decode_png;
using creel::pipeline::HostTensor;
using creel_test::encode_png;
using creel_test::PngImage;

namespace {

std::vector<std::uint8_t> pixels_of(const Bytes& file) {
  const Result<HostTensor> image = decode_png(file);
  REQUIRE_MESSAGE(image, image.failure().message);
  const auto values = image.value().values<std::uint8_t>();
  return {values.begin(), values.end()};
}

void store32(Bytes& file, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) file[at + i] = static_cast<std::byte>(value >> (24 - 8 * i));
}

// The CRC of a chunk, so that a changed header is wrong in what it says and in nothing else.
std::uint32_t crc(const Bytes& file, std::size_t from, std::size_t size) {
  std::uint32_t value = ~0U;
  for (std::size_t i = from; i < from + size; ++i) {
    value ^= static_cast<std::uint32_t>(file[i]);
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1U) ^ ((value & 1U) != 0 ? 0xEDB88320U : 0U);
  }
  return ~value;
}

}  // namespace

TEST_CASE("RGB comes out as it went in, interlaced or not") {
  for (const bool interlaced : {false, true}) {
    PngImage image{
        .width = 13, .height = 7, .interlaced = interlaced, .pixels = creel_test::rgb_pattern(13, 7)};
    const Bytes file = encode_png(image);
    CHECK(decode_png(file)->shape() == std::vector<std::int64_t>{7, 13, 3});
    CHECK(pixels_of(file) == image.pixels);
  }
}

TEST_CASE("grey of 8, 16, 4, 2 and 1 bits becomes three equal channels of 8 bits") {
  using V = std::vector<std::uint8_t>;
  CHECK(pixels_of(encode_png({.width = 2, .height = 1, .colour = 0, .pixels = {0, 200}})) ==
        V{0, 0, 0, 200, 200, 200});
  // 0x8080 and 0x01FF of 65535: scaled, not cut; 0x01FF / 257 is 1.99.
  CHECK(pixels_of(encode_png(
            {.width = 2, .height = 1, .bits = 16, .colour = 0, .pixels = {0x80, 0x80, 0x01, 0xFF}})) ==
        V{128, 128, 128, 2, 2, 2});
  CHECK(pixels_of(encode_png({.width = 2, .height = 1, .bits = 4, .colour = 0, .pixels = {0x0F}})) ==
        V{0, 0, 0, 255, 255, 255});
  CHECK(pixels_of(encode_png({.width = 2, .height = 1, .bits = 2, .colour = 0, .pixels = {0x70}})) ==
        V{85, 85, 85, 255, 255, 255});
  CHECK(pixels_of(encode_png({.width = 2, .height = 1, .bits = 1, .colour = 0, .pixels = {0x40}})) ==
        V{0, 0, 0, 255, 255, 255});
}

TEST_CASE("palettes are looked up and alpha is dropped") {
  using V = std::vector<std::uint8_t>;
  CHECK(pixels_of(encode_png(
            {.width = 2, .height = 1, .colour = 3, .pixels = {1, 0}, .palette = {9, 8, 7, 1, 2, 3}})) ==
        V{1, 2, 3, 9, 8, 7});
  CHECK(pixels_of(encode_png({.width = 1, .height = 1, .colour = 6, .pixels = {10, 20, 30, 0}})) ==
        V{10, 20, 30});
  CHECK(pixels_of(encode_png({.width = 1, .height = 1, .colour = 4, .pixels = {77, 3}})) == V{77, 77, 77});
  CHECK(pixels_of(encode_png(
            {.width = 1, .height = 1, .bits = 16, .colour = 2, .pixels = {255, 255, 0, 0, 128, 128}})) ==
        V{255, 0, 128});
}

TEST_CASE("a file cut anywhere is a failure that says truncated, never an image") {
  const Bytes whole = creel_test::pattern_png(40, 30);
  for (std::size_t size = 8; size < whole.size(); ++size) {
    CAPTURE(size);
    const Result<HostTensor> image = decode_png(std::span(whole).first(size));
    REQUIRE_FALSE(image);
    CHECK(image.failure().code == creel::ErrorCode::Data);
    CHECK(image.failure().message == "truncated PNG of " + std::to_string(size) + " bytes");
  }
  CHECK(decode_png(std::span(whole).first(5)).failure().message == "not a PNG file");
  CHECK(decode_png({}).failure().message == "empty image file");
}

TEST_CASE("a flipped byte is found by its checksum, or changes nothing") {
  const Bytes whole = creel_test::pattern_png(16, 16);
  const std::vector<std::uint8_t> pixels = pixels_of(whole);
  std::size_t refused = 0;
  for (std::size_t at = 8; at < whole.size(); ++at) {
    CAPTURE(at);
    Bytes damaged = whole;
    damaged[at] ^= std::byte{0x20};
    const Result<HostTensor> image = decode_png(damaged);
    if (!image) {
      ++refused;
      continue;
    }
    const auto values = image.value().values<std::uint8_t>();
    CHECK(std::vector<std::uint8_t>(values.begin(), values.end()) == pixels);
  }
  CHECK(refused > whole.size() - 40);
}

TEST_CASE("an image that claims to be huge is refused before memory is asked for") {
  Bytes file = creel_test::pattern_png(4, 4);
  store32(file, 16, 100000);  // IHDR's width and height
  store32(file, 20, 100000);
  store32(file, 29, crc(file, 12, 17));
  CHECK(decode_png(file).failure().message == "corrupt PNG: more than 64 Mpixel");
  store32(file, 16, 0);
  store32(file, 29, crc(file, 12, 17));
  CHECK_FALSE(decode_png(file));
}
