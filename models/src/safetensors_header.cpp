#include "safetensors_header.hpp"

#include <creel/runtime/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

namespace creel::models::detail {

namespace {

using nlohmann::json;

constexpr std::uint64_t max_header_size = 100'000'000;

constexpr std::array<std::pair<const char*, c10::ScalarType>, 10> types{{{"F64", c10::ScalarType::Double},
                                                                         {"F32", c10::ScalarType::Float},
                                                                         {"F16", c10::ScalarType::Half},
                                                                         {"BF16", c10::ScalarType::BFloat16},
                                                                         {"I64", c10::ScalarType::Long},
                                                                         {"I32", c10::ScalarType::Int},
                                                                         {"I16", c10::ScalarType::Short},
                                                                         {"I8", c10::ScalarType::Char},
                                                                         {"U8", c10::ScalarType::Byte},
                                                                         {"BOOL", c10::ScalarType::Bool}}};

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& why) {
  throw Error(path.string() + ": not a valid safetensors file: " + why, ErrorCode::Data);
}

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& tensor,
                         const std::string& why) {
  refuse(path, "tensor '" + tensor + "': " + why);
}

std::string known_types() {
  std::string names;
  for (const auto& [name, type] : types) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

/// A JSON parser keeps one of two equal keys; a callback sees both.
json parse_without_duplicates(std::string_view text, const std::filesystem::path& path) {
  std::vector<std::set<std::string>> open;
  const auto watch = [&](int, json::parse_event_t event, json& parsed) {
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second) {
      refuse(path, "the header has the key '" + parsed.get<std::string>() + "' twice");
    }
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::exception& error) {
    refuse(path, std::string("the header is no JSON: ") + error.what());
  }
}

std::uint64_t unsigned_number(const json& value, const std::filesystem::path& path, const std::string& tensor,
                              const char* what) {
  if (!value.is_number_unsigned())
    refuse(path, tensor, std::string(what) + " is not an unsigned integer: " + value.dump());
  return value.get<std::uint64_t>();
}

/// The number of bytes of the tensor; an overflow is refused, never wrapped.
std::uint64_t byte_size(const Entry& entry, const std::filesystem::path& path) {
  std::uint64_t size = c10::elementSize(entry.type);
  for (const std::int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(size, static_cast<std::uint64_t>(extent), &size) ||
        size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      refuse(path, entry.name, "its shape overflows 63 bits of bytes");
    }
  }
  return size;
}

Entry parse_entry(const std::string& name, const json& value, std::uint64_t data_size,
                  const std::filesystem::path& path) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets")) {
    refuse(path, name, "its entry must be an object of dtype, shape and data_offsets");
  }
  const json& dtype = value["dtype"];
  const auto known =
      std::find_if(types.begin(), types.end(), [&](const auto& type) { return dtype == type.first; });
  if (known == types.end()) refuse(path, name, "type " + dtype.dump() + " is not one of " + known_types());
  const json& shape = value["shape"];
  const json& offsets = value["data_offsets"];
  if (!shape.is_array()) refuse(path, name, "its shape is not a list");
  if (!offsets.is_array() || offsets.size() != 2) refuse(path, name, "data_offsets is not a list of two");

  Entry entry{name,
              known->second,
              {},
              unsigned_number(offsets[0], path, name, "the first offset"),
              unsigned_number(offsets[1], path, name, "the second offset")};
  for (const json& extent : shape) {
    const std::uint64_t number = unsigned_number(extent, path, name, "an extent of its shape");
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      refuse(path, name, "its shape overflows 63 bits of bytes");
    }
    entry.shape.push_back(static_cast<std::int64_t>(number));
  }
  const std::string range = "[" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + ")";
  if (entry.begin > entry.end || entry.end > data_size) {
    refuse(path, name,
           "offsets " + range + " are outside the " + std::to_string(data_size) + " bytes of data" +
               (entry.end > data_size ? " (the file is truncated?)" : ""));
  }
  const std::uint64_t size = byte_size(entry, path);
  if (entry.end - entry.begin != size) {
    refuse(path, name,
           "offsets " + range + " hold " + std::to_string(entry.end - entry.begin) +
               " bytes, type and shape need " + std::to_string(size));
  }
  return entry;
}

void check_cover(const std::vector<Entry>& entries, std::uint64_t data_size,
                 const std::filesystem::path& path) {
  std::uint64_t covered = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < covered) refuse(path, entry.name, "its data overlaps that of another tensor");
    if (entry.begin > covered) {
      refuse(path, entry.name,
             "there is a hole of " + std::to_string(entry.begin - covered) + " bytes before its data");
    }
    covered = entry.end;
  }
  if (covered != data_size) {
    refuse(path, std::to_string(data_size - covered) + " bytes after the last tensor belong to none");
  }
}

}  // namespace

void check_header_size(std::uint64_t header_size, std::uint64_t file_size,
                       const std::filesystem::path& path) {
  const std::string header = "a header of " + std::to_string(header_size) + " bytes";
  if (header_size > max_header_size) refuse(path, header + " is over the limit of 100 MB");
  if (header_size > file_size - sizeof header_size) {
    refuse(path, header + " in a file of " + std::to_string(file_size) + " (truncated)");
  }
}

Header parse_header(std::string_view text, std::uint64_t data_size, const std::filesystem::path& path) {
  const json parsed = parse_without_duplicates(text, path);
  if (!parsed.is_object()) refuse(path, "the header is no JSON object");
  Header header;
  for (const auto& [name, value] : parsed.items()) {
    if (name != "__metadata__") {
      header.entries.push_back(parse_entry(name, value, data_size, path));
      continue;
    }
    if (!value.is_object()) refuse(path, "__metadata__ is no object");
    for (const auto& [key, text_value] : value.items()) {
      if (!text_value.is_string()) refuse(path, "__metadata__ '" + key + "' is no text");
      header.metadata.emplace(key, text_value.get<std::string>());
    }
  }
  // Empty tensors sort before the one that starts where they are.
  std::sort(header.entries.begin(), header.entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  check_cover(header.entries, data_size, path);
  return header;
}

std::string format_header(const Header& header) {
  nlohmann::ordered_json root;
  root["__metadata__"] = header.metadata;
  for (const Entry& entry : header.entries) {
    const auto known =
        std::find_if(types.begin(), types.end(), [&](const auto& type) { return entry.type == type.second; });
    if (known == types.end()) {
      throw Error("tensor '" + entry.name + "' is of type " + c10::toString(entry.type) +
                  ", which safetensors cannot hold; use one of " + known_types());
    }
    root[entry.name] = {
        {"dtype", known->first}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = root.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace creel::models::detail
