#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace creel::detail {

/// Moves the first `limit` elements that match out of `from` and returns them; the others keep their order.
/// All are asked before any is moved, so that nothing has changed if `matches` throws.
template <typename T, typename Matches>
std::vector<T> extract_matching(std::vector<T>& from, std::size_t limit, Matches matches) {
  std::vector<bool> goes(from.size());
  std::size_t going = 0;
  for (std::size_t i = 0; i < from.size() && going < limit; ++i) {
    goes[i] = matches(std::as_const(from[i]));
    going += goes[i] ? 1 : 0;
  }
  std::vector<T> removed;
  removed.reserve(going);
  if (going == 0) return removed;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (goes[i]) {
      removed.push_back(std::move(from[i]));
    } else if (kept++ != i) {
      from[kept - 1] = std::move(from[i]);
    }
  }
  from.erase(from.begin() + static_cast<std::ptrdiff_t>(kept), from.end());
  return removed;
}

}  // namespace creel::detail
