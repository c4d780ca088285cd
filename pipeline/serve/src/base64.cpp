#include <creel/pipeline/serve/base64.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace creel::pipeline {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kNotADigit = 0xff;
constexpr std::uint8_t kBlank = 0xfe;

constexpr std::array<std::uint8_t, 256> make_digits() {
  std::array<std::uint8_t, 256> digits{};
  digits.fill(kNotADigit);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i) {
    digits[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  }
  digits['-'] = 62;
  digits['_'] = 63;
  for (const char blank : {' ', '\t', '\r', '\n'}) digits[static_cast<unsigned char>(blank)] = kBlank;
  return digits;
}
constexpr std::array<std::uint8_t, 256> kDigits = make_digits();

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t group = 0;
  int digits = 0;
  std::size_t padding = 0;
  for (const char c : text) {
    const std::uint8_t digit = kDigits[static_cast<unsigned char>(c)];
    if (digit == kBlank) continue;
    if (c == '=') {
      ++padding;
      continue;
    }
    if (digit == kNotADigit || padding > 0) return std::nullopt;
    group = group << 6 | digit;
    if (++digits == 4) {
      bytes += static_cast<char>(group >> 16);
      bytes += static_cast<char>(group >> 8 & 0xff);
      bytes += static_cast<char>(group & 0xff);
      group = 0;
      digits = 0;
    }
  }
  // A lone digit holds 6 bits: not a byte. Padding, where given, completes the group of four.
  if (digits == 1 || (padding > 0 && digits + static_cast<int>(padding) != 4) || padding > 2)
    return std::nullopt;
  // The bits past the last byte must be zero, or two texts would stand for the same bytes.
  if (digits == 2) {
    if ((group & 0xf) != 0) return std::nullopt;
    bytes += static_cast<char>(group >> 4);
  } else if (digits == 3) {
    if ((group & 0x3) != 0) return std::nullopt;
    bytes += static_cast<char>(group >> 10);
    bytes += static_cast<char>(group >> 2 & 0xff);
  }
  return bytes;
}

std::string encode_base64(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;
    const std::size_t count = bytes.size() - i < 3 ? bytes.size() - i : 3;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= count ? kAlphabet[group >> (18 - 6 * j) & 0x3f] : '=';
    }
  }
  return text;
}

}  // namespace creel::pipeline
