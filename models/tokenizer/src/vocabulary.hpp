#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creel::models::detail {

inline constexpr char start_token[] = "<|startoftext|>";
inline constexpr char end_token[] = "<|endoftext|>";

/// Tokens are kept as the vocabulary files write them: every byte stands as one printable character
/// (byte_symbol), and the last piece of a word ends with "</w>".
struct Vocabulary {
  std::vector<std::string> tokens;                          ///< by id
  std::vector<std::pair<std::string, std::string>> merges;  ///< by rank
  std::string pad = end_token;
};

/// The printable character, in UTF-8, that stands for a byte: itself if printable, else U+0100 and up.
std::string byte_symbol(unsigned char byte);

/// The byte that a code point stands for, -1 if none.
int symbol_byte(std::int32_t code_point);

/// Bytes 0 … 255 in the order of CLIP's first 256 ids: the printable ones first.
std::vector<unsigned char> bytes_in_order();

Vocabulary read_clip_merges(const std::filesystem::path& merges_gz);
Vocabulary read_huggingface(const std::filesystem::path& folder);
void write_huggingface(const Vocabulary& vocabulary, const std::filesystem::path& folder,
                       std::int64_t context);

}  // namespace creel::models::detail
