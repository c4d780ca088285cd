#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace creel::models::detail {

/// NFC, then lower case of each code point by itself (a final sigma stays the ordinary one). Bytes that are
/// not UTF-8 become U+FFFD.
std::string normalize(std::string_view text);

/// The words of a normalised text: the special tokens written out, the English contractions, runs of letters,
/// single numerals, runs of anything else but white space. Views into `text`.
std::vector<std::string_view> split_words(std::string_view text);

/// Copies text with every malformed byte sequence replaced by U+FFFD.
std::string repair_utf8(std::string_view text);

}  // namespace creel::models::detail
