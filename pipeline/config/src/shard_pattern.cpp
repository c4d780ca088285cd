#include <creel/pipeline/config/shard_pattern.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>

namespace creel::pipeline {
namespace {

constexpr std::size_t kMaxPaths = 1'000'000;

struct Range {
  std::int64_t first;
  std::int64_t last;
  std::size_t width;
};

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text[0] == '-' || error != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

Range parse_range(std::string_view inside, std::string_view pattern) {
  const std::size_t dots = inside.find("..");
  if (dots != std::string_view::npos) {
    const auto first = whole_number(inside.substr(0, dots));
    const auto last = whole_number(inside.substr(dots + 2));
    if (first && last && *first <= *last) return {*first, *last, dots};
  }
  throw Error("'{" + std::string(inside) + "}' in '" + std::string(pattern) +
                  "' is no range; write {FIRST..LAST} with FIRST <= LAST, as in {000..007}",
              ErrorCode::Config);
}

std::string padded(std::int64_t number, std::size_t width) {
  std::string digits = std::to_string(number);
  if (digits.size() < width) digits.insert(0, width - digits.size(), '0');
  return digits;
}

}  // namespace

std::vector<std::string> expand_shards(std::string_view pattern) {
  std::vector<std::string> paths{""};
  for (std::size_t at = 0; at < pattern.size();) {
    const std::size_t open = pattern.find('{', at);
    for (std::string& path : paths) path += pattern.substr(at, open - at);
    if (open == std::string_view::npos) break;
    const std::size_t close = pattern.find('}', open);
    if (close == std::string_view::npos) {
      throw Error("'" + std::string(pattern) + "' has a { without its }; write {FIRST..LAST}",
                  ErrorCode::Config);
    }
    const Range range = parse_range(pattern.substr(open + 1, close - open - 1), pattern);
    const std::uint64_t count = static_cast<std::uint64_t>(range.last - range.first) + 1;
    if (count > kMaxPaths / paths.size()) {
      throw Error(
          "'" + std::string(pattern) + "' names over a million files; write larger shards, or fewer of them",
          ErrorCode::Config);
    }
    std::vector<std::string> longer;
    longer.reserve(paths.size() * count);
    for (const std::string& path : paths) {
      for (std::int64_t n = range.first; n <= range.last; ++n)
        longer.push_back(path + padded(n, range.width));
    }
    paths = std::move(longer);
    at = close + 1;
  }
  return paths;
}

}  // namespace creel::pipeline
