#include "available_memory.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

namespace creel::comm::detail {
namespace {

namespace fs = std::filesystem;

// The number after `key` at the start of a line of `file`.
std::optional<std::uint64_t> field(const fs::path& file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(key)) return std::stoull(line.substr(key.size()));
  }
  return std::nullopt;
}

std::optional<std::uint64_t> number(const fs::path& file) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // "max", or no such file
}

// Room under one group's limit. Page cache counts as used there but gives way.
std::optional<std::uint64_t> room_of_group(const fs::path& group) {
  const std::optional<std::uint64_t> limit = number(group / "memory.max");
  const std::optional<std::uint64_t> used = number(group / "memory.current");
  if (!limit || !used) return std::nullopt;
  const std::uint64_t cache = field(group / "memory.stat", "active_file ").value_or(0) +
                              field(group / "memory.stat", "inactive_file ").value_or(0);
  const std::uint64_t firm = *used > cache ? *used - cache : 0;
  return *limit > firm ? *limit - firm : 0;
}

std::optional<std::uint64_t> smaller(std::optional<std::uint64_t> a, std::optional<std::uint64_t> b) {
  if (!a || !b) return a ? a : b;
  return std::min(*a, *b);
}

}  // namespace

std::optional<std::uint64_t> available_memory() {
  std::optional<std::uint64_t> room = field("/proc/meminfo", "MemAvailable:");
  if (room) *room *= 1024;
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("0::/")) continue;  // version 1 hierarchies say nothing that version 2 does not
    const fs::path root = "/sys/fs/cgroup";
    for (fs::path group = line.substr(4);; group = group.parent_path()) {
      room = smaller(room, room_of_group(root / group));
      if (group.empty()) break;
    }
  }
  return room;
}

}  // namespace creel::comm::detail
