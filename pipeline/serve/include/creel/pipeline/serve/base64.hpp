#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace creel::pipeline {

/// The bytes that base64 text stands for; nothing if it is not base64. Padding may be absent, line breaks and
/// blanks are passed over, and both alphabets (`+/` and `-_`) are taken. Source: RFC 4648 §4, §5.
std::optional<std::string> decode_base64(std::string_view text);

std::string encode_base64(std::string_view bytes);

}  // namespace creel::pipeline
