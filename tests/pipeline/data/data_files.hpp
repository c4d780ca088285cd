#pragma once

#include <creel/pipeline/data/sample.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creel_test {

/// What a PNG of a test holds: `pixels` in rows of width x channels samples, of one byte or (16 bits) two.
struct PngImage {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  int bits = 8;
  int colour = 2;  ///< PNG's colour type: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGB + alpha
  bool interlaced = false;
  std::vector<std::uint8_t> pixels = {};
  std::vector<std::uint8_t> palette = {};  ///< RGB triples
};
creel::pipeline::Bytes encode_png(const PngImage& image);

/// An RGB pattern without symmetries, width x height.
std::vector<std::uint8_t> rgb_pattern(std::uint32_t width, std::uint32_t height, std::uint32_t variant = 0);
creel::pipeline::Bytes pattern_png(std::uint32_t width, std::uint32_t height, std::uint32_t variant = 0);

creel::pipeline::Bytes bytes_of(std::string_view text);

/// Writes tar archives block by block, right ones and wrong ones.
class TarFile {
 public:
  struct Member {
    std::string name;
    char type = '0';
    std::string size_field = {};  ///< as it stands in the header; empty: the content's size in octal
    std::string magic = "ustar";
    std::string prefix = {};
    bool wrong_checksum = false;
  };
  void add(std::string_view name, std::span<const std::byte> content) {
    add(Member{.name = std::string(name)}, content);
  }
  void add(std::string_view name, std::string_view content) { add(name, bytes_of(content)); }
  void add(const Member& member, std::span<const std::byte> content);
  void end();  ///< the two blocks of zeros
  std::string& bytes() { return bytes_; }
  void save(const std::filesystem::path& path) const;

 private:
  std::string bytes_;
};

/// A shard of `count` samples: PNG patterns of the side given, captions "sample N", labels N % 10.
void write_shard(const std::filesystem::path& path, int first, int count, std::uint32_t side = 8);

}  // namespace creel_test
