#include "process_files.hpp"

#include <creel/runtime/cgroup_figures.hpp>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace creel {
namespace {

namespace fs = std::filesystem;
using std::chrono::microseconds;

// Version 1 has a number of 2^63 less a page for "no limit".
constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;

/// A control group's folder, and how far up its parents' are.
struct Group {
  fs::path mount;
  fs::path folder;  // the mount point or below; empty: not mounted

  explicit operator bool() const noexcept { return !folder.empty(); }
};

std::optional<std::uint64_t> to_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end == text.data()) return std::nullopt;  // "max", "-1"
  return number;
}

std::optional<std::uint64_t> read_number(const fs::path& file) {
  const auto text = detail::read_kernel_file(file);
  return text ? to_number(*text) : std::nullopt;
}

/// The number after `key` in lines of "key number".
std::optional<std::uint64_t> read_entry(const fs::path& file, std::string_view key) {
  std::istringstream lines(detail::read_kernel_file(file).value_or(""));
  std::string name;
  std::string value;
  while (lines >> name >> value) {
    if (name == key) return to_number(value);
  }
  return std::nullopt;
}

std::optional<microseconds> to_microseconds(std::optional<std::uint64_t> count,
                                            std::uint64_t per_microsecond = 1) {
  if (!count) return std::nullopt;
  return microseconds(*count / per_microsecond);
}

/// The least value that `read` finds in the group and its parents.
template <typename Read>
auto least_upwards(const Group& group, Read read) -> decltype(read(group.folder)) {
  decltype(read(group.folder)) least;
  for (fs::path folder = group.folder; group; folder = folder.parent_path()) {
    if (const auto value = read(folder); value && (!least || *value < *least)) least = value;
    if (folder == group.mount || !folder.has_relative_path()) break;
  }
  return least;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream{std::string(text)};
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

/// The group of a hierarchy, `controller` empty for version 2's.
Group find_group(const fs::path& proc_folder, const fs::path& root, const std::string& controller) {
  std::string path;
  for (const std::string& line : split(detail::read_kernel_file(proc_folder / "cgroup").value_or(""), '\n')) {
    const std::size_t first = line.find(':');  // ID:CONTROLLERS:PATH
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const auto names = split(line.substr(first + 1, second - first - 1), ',');
    const bool is_it =
        controller.empty() ? names.empty() : std::find(names.begin(), names.end(), controller) != names.end();
    if (is_it) path = line.substr(second + 1);
  }
  if (path.empty()) return {};
  for (const std::string& line :
       split(detail::read_kernel_file(proc_folder / "mountinfo").value_or(""), '\n')) {
    const std::size_t dash = line.find(" - ");  // … ROOT MOUNT-POINT … - TYPE SOURCE OPTIONS
    if (dash == std::string::npos) continue;
    const auto mount = split(line.substr(0, dash), ' ');
    const auto kind = split(line.substr(dash + 3), ' ');
    if (mount.size() < 5 || kind.size() < 3) continue;
    const auto options = split(kind[2], ',');
    const bool is_it = controller.empty() ? kind[0] == "cgroup2"
                                          : kind[0] == "cgroup" && std::find(options.begin(), options.end(),
                                                                             controller) != options.end();
    if (!is_it) continue;
    const fs::path point = root / fs::path(mount[4]).relative_path();
    // Inside a container the mount's root is the container's group, which need not show in our path.
    const fs::path below = fs::path(path).lexically_relative(mount[3]);
    const bool is_below = !below.empty() && *below.begin() != "..";
    const fs::path folder = is_below ? (point / below).lexically_normal() : point;
    std::error_code error;
    if (fs::is_directory(folder, error)) return {point, below == "." ? point : folder};
    return {point, point};
  }
  return {};
}

std::optional<CgroupPressure> read_pressure(const fs::path& file) {
  const auto text = detail::read_kernel_file(file);
  if (!text || text->empty()) return std::nullopt;
  CgroupPressure pressure;
  for (const std::string& line : split(*text, '\n')) {  // some avg10=0.00 avg60=0.00 avg300=0.00 total=0
    const bool is_some = line.starts_with("some");
    for (const std::string& field : split(line, ' ')) {
      const std::size_t sign = field.find('=');
      if (sign == std::string::npos) continue;
      const std::string_view name = std::string_view(field).substr(0, sign);
      const std::string_view value = std::string_view(field).substr(sign + 1);
      double share = 0;
      std::from_chars(value.data(), value.data() + value.size(), share);
      if (name == "avg10") (is_some ? pressure.some_10s : pressure.full_10s) = share;
      if (name == "avg60") (is_some ? pressure.some_60s : pressure.full_60s) = share;
      if (name == "avg300") (is_some ? pressure.some_300s : pressure.full_300s) = share;
      if (name == "total") {
        (is_some ? pressure.some_total : pressure.full_total) = microseconds(to_number(value).value_or(0));
      }
    }
  }
  return pressure;
}

std::optional<double> share_of_period(std::optional<std::uint64_t> quota,
                                      std::optional<std::uint64_t> period) {
  if (!quota || !period || *period == 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

CgroupFigures read_version_2(const Group& group) {
  const fs::path& folder = group.folder;
  CgroupFigures figures;
  figures.version = 2;
  figures.memory_limit =
      least_upwards(group, [](const fs::path& in) { return read_number(in / "memory.max"); });
  figures.memory_usage = read_number(folder / "memory.current");
  figures.memory_peak = read_number(folder / "memory.peak");
  figures.oom_kills = read_entry(folder / "memory.events", "oom_kill");
  figures.cpu_limit = least_upwards(group, [](const fs::path& in) {
    const auto words = split(detail::read_kernel_file(in / "cpu.max").value_or(""), ' ');
    return words.size() < 2 ? std::nullopt : share_of_period(to_number(words[0]), to_number(words[1]));
  });
  figures.cpu_usage = to_microseconds(read_entry(folder / "cpu.stat", "usage_usec"));
  figures.periods = read_entry(folder / "cpu.stat", "nr_periods");
  figures.throttled_periods = read_entry(folder / "cpu.stat", "nr_throttled");
  figures.throttled_time = to_microseconds(read_entry(folder / "cpu.stat", "throttled_usec"));
  figures.process_limit =
      least_upwards(group, [](const fs::path& in) { return read_number(in / "pids.max"); });
  figures.process_count = read_number(folder / "pids.current");
  figures.cpu_pressure = read_pressure(folder / "cpu.pressure");
  figures.memory_pressure = read_pressure(folder / "memory.pressure");
  figures.io_pressure = read_pressure(folder / "io.pressure");
  return figures;
}

CgroupFigures read_version_1(const Group& memory, const Group& cpu, const Group& cpuacct, const Group& pids) {
  CgroupFigures figures;
  figures.version = 1;
  figures.memory_limit = least_upwards(memory, [](const fs::path& in) {
    const auto limit = read_number(in / "memory.limit_in_bytes");
    return limit && *limit < kNoLimit ? limit : std::nullopt;
  });
  if (memory) {
    figures.memory_usage = read_number(memory.folder / "memory.usage_in_bytes");
    figures.memory_peak = read_number(memory.folder / "memory.max_usage_in_bytes");
    figures.oom_kills = read_entry(memory.folder / "memory.oom_control", "oom_kill");
  }
  figures.cpu_limit = least_upwards(cpu, [](const fs::path& in) {
    return share_of_period(read_number(in / "cpu.cfs_quota_us"), read_number(in / "cpu.cfs_period_us"));
  });
  if (cpu) {
    figures.periods = read_entry(cpu.folder / "cpu.stat", "nr_periods");
    figures.throttled_periods = read_entry(cpu.folder / "cpu.stat", "nr_throttled");
    figures.throttled_time = to_microseconds(read_entry(cpu.folder / "cpu.stat", "throttled_time"), 1000);
  }
  if (cpuacct) figures.cpu_usage = to_microseconds(read_number(cpuacct.folder / "cpuacct.usage"), 1000);
  figures.process_limit =
      least_upwards(pids, [](const fs::path& in) { return read_number(in / "pids.max"); });
  if (pids) figures.process_count = read_number(pids.folder / "pids.current");
  return figures;
}

}  // namespace

CgroupFigures CgroupFigures::current() { return read("/proc/self"); }

CgroupFigures CgroupFigures::read(const fs::path& proc_folder, const fs::path& root) {
  const auto group = [&](const char* controller) { return find_group(proc_folder, root, controller); };
  // Where both are mounted, the controllers are version 1's.
  const Group memory = group("memory");
  const Group cpu = group("cpu");
  if (memory || cpu) return read_version_1(memory, cpu, group("cpuacct"), group("pids"));
  if (const Group unified = group("")) return read_version_2(unified);
  return {};
}

}  // namespace creel
