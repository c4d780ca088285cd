#include "unknown_name.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace creel::models::detail {

namespace {

/// Number of single-character edits between two words (Levenshtein 1966).
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substitute}));
    }
  }
  return row.back();
}

}  // namespace

std::string unknown_name(std::string_view kind, std::string_view name,
                         const std::vector<std::string>& known) {
  std::size_t nearest = 3;  // farther than two edits is no misspelling
  std::string suggestion;
  std::string all;
  for (const std::string& candidate : known) {
    all += (all.empty() ? "" : ", ") + candidate;
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < nearest) {
      nearest = distance;
      suggestion = "; did you mean '" + candidate + "'?";
    }
  }
  return "unknown " + std::string(kind) + " '" + std::string(name) + "'" + suggestion + " (known: " + all +
         ")";
}

}  // namespace creel::models::detail
