#include "data_files.hpp"

#include <png.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace creel_test {

using creel::pipeline::Bytes;

Bytes encode_png(const PngImage& image) {
  Bytes file;
  png_structp png = png_create_write_struct(
      PNG_LIBPNG_VER_STRING, nullptr, [](png_structp, png_const_charp why) { throw std::runtime_error(why); },
      nullptr);
  png_infop info = png_create_info_struct(png);
  const auto write = [](png_structp writer, png_bytep data, png_size_t size) {
    auto& out = *static_cast<Bytes*>(png_get_io_ptr(writer));
    const auto* const from = reinterpret_cast<const std::byte*>(data);
    out.insert(out.end(), from, from + size);
  };
  png_set_write_fn(png, &file, write, [](png_structp) {});
  png_set_IHDR(png, info, image.width, image.height, image.bits, image.colour,
               image.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  std::vector<png_color> palette;
  for (std::size_t i = 0; i + 2 < image.palette.size(); i += 3) {
    palette.push_back({image.palette[i], image.palette[i + 1], image.palette[i + 2]});
  }
  if (!palette.empty()) png_set_PLTE(png, info, palette.data(), static_cast<int>(palette.size()));
  png_write_info(png, info);
  const std::size_t stride = image.pixels.size() / image.height;
  std::vector<png_bytep> rows;
  for (std::size_t y = 0; y < image.height; ++y)
    rows.push_back(const_cast<png_bytep>(image.pixels.data() + y * stride));
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  png_destroy_write_struct(&png, &info);
  return file;
}

std::vector<std::uint8_t> rgb_pattern(std::uint32_t width, std::uint32_t height, std::uint32_t variant) {
  std::vector<std::uint8_t> pixels;
  for (std::uint32_t y = 0; y < height; ++y) {
    for (std::uint32_t x = 0; x < width; ++x) {
      for (std::uint32_t c = 0; c < 3; ++c) {
        pixels.push_back(static_cast<std::uint8_t>(x * 37 + y * 101 + c * 59 + x * y * 13 + variant * 7));
      }
    }
  }
  return pixels;
}

Bytes pattern_png(std::uint32_t width, std::uint32_t height, std::uint32_t variant) {
  return encode_png({.width = width, .height = height, .pixels = rgb_pattern(width, height, variant)});
}

Bytes bytes_of(std::string_view text) {
  const auto* const data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

void TarFile::add(const Member& member, std::span<const std::byte> content) {
  std::array<char, 512> header{};
  const auto put = [&](std::size_t at, std::string_view text) {
    std::memcpy(header.data() + at, text.data(), text.size());
  };
  std::array<char, 32> number{};
  std::snprintf(number.data(), number.size(), "%011o", static_cast<unsigned>(content.size()));
  put(0, member.name.substr(0, 100));
  put(100, "0000644");
  put(124, member.size_field.empty() ? std::string(number.data()) : member.size_field);
  put(136, "00000000000");
  put(148, "        ");
  header[156] = member.type;
  put(257, member.magic);
  put(345, member.prefix);
  unsigned sum = member.wrong_checksum ? 1 : 0;
  for (const char byte : header) sum += static_cast<unsigned char>(byte);
  std::snprintf(number.data(), number.size(), "%06o", sum);
  put(148, std::string_view(number.data(), 7));
  bytes_.append(header.data(), header.size());
  bytes_.append(reinterpret_cast<const char*>(content.data()), content.size());
  bytes_.append((512 - content.size() % 512) % 512, '\0');
}

void TarFile::end() { bytes_.append(1024, '\0'); }

void TarFile::save(const std::filesystem::path& path) const {
  std::ofstream(path, std::ios::binary).write(bytes_.data(), static_cast<std::streamsize>(bytes_.size()));
}

void write_shard(const std::filesystem::path& path, int first, int count, std::uint32_t side) {
  TarFile tar;
  for (int i = first; i < first + count; ++i) {
    std::array<char, 16> name{};
    std::snprintf(name.data(), name.size(), "%06d", i);
    tar.add(std::string(name.data()) + ".png", pattern_png(side, side, static_cast<std::uint32_t>(i)));
    tar.add(std::string(name.data()) + ".txt", "sample " + std::to_string(i) + "\n");
    tar.add(std::string(name.data()) + ".cls", std::to_string(i % 10));
  }
  tar.end();
  tar.save(path);
}

}  // namespace creel_test
