#include "clip_text.hpp"

#include "vocabulary.hpp"

#include <creel/runtime/error.hpp>

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <span>
#include <utility>

namespace creel::models::detail {

namespace {

enum class Kind { Space, Letter, Number, Other };

bool is_space(std::int32_t c) {  // Unicode's White_Space, which has no function in utf8proc
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

Kind kind_of(std::int32_t c) {
  if (is_space(c)) return Kind::Space;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return Kind::Letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return Kind::Number;
    default:
      return Kind::Other;
  }
}

/// The code point at the start of `text` and its length in bytes; malformed UTF-8 gives -1 and length 1.
std::pair<std::int32_t, std::size_t> next_code_point(std::string_view text) {
  utf8proc_int32_t c = -1;
  const utf8proc_ssize_t length = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                                   static_cast<utf8proc_ssize_t>(text.size()), &c);
  if (length < 1) return {-1, 1};
  return {c, static_cast<std::size_t>(length)};
}

void append_code_point(std::string& text, std::int32_t c) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const utf8proc_ssize_t length = utf8proc_encode_char(c, bytes.data());
  text.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length));
}

std::string compose(const std::string& text) {
  utf8proc_uint8_t* composed = nullptr;
  const utf8proc_ssize_t length = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
      &composed, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(composed, &std::free);
  if (length < 0)
    throw Error(std::string("text cannot be normalised: ") + utf8proc_errmsg(length), ErrorCode::Data);
  return {reinterpret_cast<const char*>(composed), static_cast<std::size_t>(length)};
}

/// The pieces of the fixed word that `text` starts with: a contraction is one; a special token's spelling,
/// which only text in capitals still has here, is three. None if it starts with no such word.
std::span<const std::string_view> fixed_word(std::string_view text) {
  static constexpr std::array<std::string_view, 7> contractions{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  static constexpr std::array<std::string_view, 3> start{"<|", "startoftext", "|>"};
  static constexpr std::array<std::string_view, 3> end{"<|", "endoftext", "|>"};
  if (text.starts_with(start_token)) return start;
  if (text.starts_with(end_token)) return end;
  for (const std::string_view& word : contractions) {
    if (text.starts_with(word)) return {&word, 1};
  }
  return {};
}

}  // namespace

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto [c, length] = next_code_point(text);
    if (c < 0) {
      append_code_point(out, 0xFFFD);
    } else {
      out.append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  return out;
}

std::string normalize(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; })) {
    std::string lower(text);
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return lower;
  }
  const std::string composed = compose(repair_utf8(text));
  std::string out;
  out.reserve(composed.size());
  for (std::string_view rest = composed; !rest.empty();) {
    const auto [c, length] = next_code_point(rest);
    if (c == 0x130) {
      out += "i\xCC\x87";  // the one lower case of two code points, which utf8proc_tolower cannot give
    } else {
      append_code_point(out, utf8proc_tolower(c));
    }
    rest.remove_prefix(length);
  }
  return out;
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::span<const std::string_view> fixed = fixed_word(text);
    for (const std::string_view piece : fixed) {
      words.push_back(text.substr(0, piece.size()));
      text.remove_prefix(piece.size());
    }
    if (!fixed.empty()) continue;
    auto [c, length] = next_code_point(text);
    const Kind kind = kind_of(c);
    if (kind == Kind::Letter || kind == Kind::Other) {
      for (std::string_view rest = text.substr(length); !rest.empty(); rest = text.substr(length)) {
        const auto [next, next_length] = next_code_point(rest);
        if (kind_of(next) != kind) break;
        length += next_length;
      }
    }
    if (kind != Kind::Space) words.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return words;
}

}  // namespace creel::models::detail
