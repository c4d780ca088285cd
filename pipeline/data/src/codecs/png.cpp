#include <creel/pipeline/data/png.hpp>

#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <string>
#include <vector>

namespace creel::pipeline {
namespace {

// Everything that libpng's callbacks touch and everything with a destructor. It lives in the caller of the
// function that calls setjmp, so that longjmp never crosses a frame that has something to destroy.
struct Decoding {
  std::span<const std::byte> file;
  std::size_t at = 0;
  bool truncated = false;
  std::array<char, 160> error{};
  png_structp png = nullptr;
  png_infop info = nullptr;
  HostTensor image;
  std::vector<png_bytep> rows;

  ~Decoding() { png_destroy_read_struct(&png, &info, nullptr); }
};

Decoding& decoding_of(png_structp png) { return *static_cast<Decoding*>(png_get_io_ptr(png)); }

void read_bytes(png_structp png, png_bytep to, png_size_t size) {
  Decoding& decoding = decoding_of(png);
  if (size > decoding.file.size() - decoding.at) {
    decoding.truncated = true;
    png_error(png, "the file ends too early");
  }
  std::memcpy(to, decoding.file.data() + decoding.at, size);
  decoding.at += size;
}

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto& decoding = *static_cast<Decoding*>(png_get_error_ptr(png));
  std::strncpy(decoding.error.data(), message, decoding.error.size() - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}  // of things that do not change the pixels

// Any kind of PNG to 8-bit RGB.
void ask_for_rgb8(png_structp png, png_infop info) {
  const int colour = png_get_color_type(png, info);
  png_set_expand(png);  // palettes to RGB, 1, 2 and 4 bits to 8, tRNS to alpha
  png_set_scale_16(png);
  if ((colour & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
}

// May throw bad_alloc, but calls nothing of libpng's that jumps.
bool make_room(Decoding& decoding, png_uint_32 height, png_uint_32 width) {
  decoding.image = HostTensor(ElementType::U8, {height, width, 3});
  std::uint8_t* const pixels = decoding.image.values<std::uint8_t>().data();
  decoding.rows.resize(height);
  for (std::size_t y = 0; y < height; ++y) decoding.rows[y] = pixels + y * width * 3;
  return true;
}

// Nothing in this frame has a destructor: errors come back here by longjmp.
bool decode(Decoding& decoding) {
  if (setjmp(png_jmpbuf(decoding.png)) != 0) return false;
  png_structp const png = decoding.png;
  png_infop const info = decoding.info;
  png_set_read_fn(png, &decoding, read_bytes);
  png_set_user_limits(png, 1U << 20U, 1U << 20U);
  png_set_chunk_malloc_max(png, 8U << 20U);
  png_read_info(png, info);
  const png_uint_32 width = png_get_image_width(png, info);
  const png_uint_32 height = png_get_image_height(png, info);
  if (std::uint64_t{width} * height > kMaxPixels) png_error(png, "more than 64 Mpixel");
  ask_for_rgb8(png, info);
  if (png_get_rowbytes(png, info) != std::size_t{width} * 3) png_error(png, "unexpected row size");
  if (!make_room(decoding, height, width)) return false;
  png_read_image(png, decoding.rows.data());
  png_read_end(png, nullptr);
  return true;
}

}  // namespace

bool is_png(std::span<const std::byte> file) noexcept {
  constexpr std::array<unsigned char, 8> kSignature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
  return file.size() >= kSignature.size() &&
         std::memcmp(file.data(), kSignature.data(), kSignature.size()) == 0;
}

Result<HostTensor> decode_png(std::span<const std::byte> file) {
  if (file.empty()) return Failure{ErrorCode::Data, "empty image file"};
  if (!is_png(file)) return Failure{ErrorCode::Data, "not a PNG file"};
  Decoding decoding;
  decoding.file = file;
  decoding.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &decoding, on_error, on_warning);
  if (decoding.png == nullptr) throw std::bad_alloc();
  decoding.info = png_create_info_struct(decoding.png);
  if (decoding.info == nullptr) throw std::bad_alloc();
  if (decode(decoding)) return std::move(decoding.image);
  const std::string why = decoding.truncated ? "truncated PNG of " + std::to_string(file.size()) + " bytes"
                                             : "corrupt PNG: " + std::string(decoding.error.data());
  return Failure{ErrorCode::Data, why};
}

}  // namespace creel::pipeline
