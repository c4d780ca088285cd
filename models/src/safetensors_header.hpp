#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace creel::models::detail {

/// One tensor of a safetensors header; offsets count from the end of the header.
struct Entry {
  std::string name;
  c10::ScalarType type;
  std::vector<std::int64_t> shape;
  std::uint64_t begin;
  std::uint64_t end;
};

struct Header {
  std::vector<Entry> entries;  ///< read: by offset
  std::map<std::string, std::string> metadata;
};

/// Throws Error unless a header of that size can be in such a file.
void check_header_size(std::uint64_t header_size, std::uint64_t file_size, const std::filesystem::path& path);

/// Parses and checks everything: afterwards the entries cover [0, data_size) exactly, without overlap.
Header parse_header(std::string_view text, std::uint64_t data_size, const std::filesystem::path& path);

/// JSON, padded with blanks to a multiple of 8 so that the data is aligned.
std::string format_header(const Header& header);

}  // namespace creel::models::detail
