#include "stack_figures.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string_view>

namespace creel::detail {

StackMappings::StackMappings() {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {  // 7f0c…-7f0d… rw-p …
    Mapping mapping{};
    const char* const end = line.data() + line.size();
    const auto low = std::from_chars(line.data(), end, mapping.low, 16);
    if (low.ec != std::errc{} || low.ptr == end) continue;
    const auto high = std::from_chars(low.ptr + 1, end, mapping.high, 16);
    if (high.ec != std::errc{} || end - high.ptr < 3) continue;
    mapping.accessible = high.ptr[1] == 'r';
    mappings_.push_back(mapping);
  }
}

const StackMappings::Mapping* StackMappings::at(std::uintptr_t address) const noexcept {
  const auto after =
      std::upper_bound(mappings_.begin(), mappings_.end(), address,
                       [](std::uintptr_t a, const Mapping& mapping) { return a < mapping.low; });
  if (after == mappings_.begin()) return nullptr;
  const Mapping& found = *std::prev(after);
  return address < found.high ? &found : nullptr;
}

std::optional<StackFigures> StackMappings::figures(std::uintptr_t low, std::uintptr_t high) const {
  if (low == 0 || low >= high) return std::nullopt;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  low = low / page * page;
  // Some versions of glibc count the guard into the stack.
  if (const Mapping* const mapping = at(low);
      mapping != nullptr && !mapping->accessible && mapping->high < high)
    low = mapping->high;
  const Mapping* const stack = at(high - 1);
  if (stack == nullptr || !stack->accessible) return std::nullopt;
  StackFigures figures;
  figures.reserved = high - low;
  if (const Mapping* const below = low > 0 ? at(low - 1) : nullptr; below != nullptr && !below->accessible) {
    // A slab's mappings may have melted into one guard: no more than what lies below is this stack's.
    figures.guard = low - below->low;
  }
  // The main thread's mapping grows: what lies below it has never been used.
  const std::uintptr_t mapped = std::max(low, stack->low);
  std::vector<unsigned char> resident((high - mapped + page - 1) / page);
  if (::mincore(reinterpret_cast<void*>(mapped), high - mapped, resident.data()) != 0) return std::nullopt;
  const auto is_there = [](unsigned char flags) { return (flags & 1U) != 0; };
  figures.committed =
      static_cast<std::size_t>(std::count_if(resident.begin(), resident.end(), is_there)) * page;
  const auto deepest = std::find_if(resident.begin(), resident.end(), is_there);
  figures.high_water = static_cast<std::size_t>(resident.end() - deepest) * page;
  return figures;
}

}  // namespace creel::detail
