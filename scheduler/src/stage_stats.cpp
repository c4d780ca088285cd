#include <creel/scheduler/stage_stats.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace creel::scheduler {
namespace {

constexpr double kBarWidth = 20;

double share_of(double seconds, const StageStats& stage) {
  const double whole = stage.elapsed * static_cast<double>(stage.workers);
  return whole > 0 ? std::clamp(seconds / whole, 0.0, 1.0) : 0.0;
}

std::string bar(const StageStats& stage) {
  std::string text;
  double end = 0;
  for (const auto& [mark, seconds] :
       {std::pair{'#', stage.busy}, std::pair{'.', stage.starved}, std::pair{'~', stage.blocked}}) {
    end += share_of(seconds, stage) * kBarWidth;
    const auto upto = static_cast<std::size_t>(std::lround(std::min(end, kBarWidth)));
    if (upto > text.size()) text.append(upto - text.size(), mark);
  }
  return text;
}

std::string time_text(double seconds, const StageStats& stage) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%9.2f s %3.0f %%", seconds, 100 * share_of(seconds, stage));
  return text.data();
}

}  // namespace

std::string to_table(std::span<const StageStats> stages) {
  std::size_t width = 5;
  for (const StageStats& stage : stages) width = std::max(width, stage.name.size());
  std::string table = "stage";
  table.append(width - 5, ' ');
  table +=
      "  workers      items             busy          starved          blocked  # busy . starved ~ blocked\n";
  for (const StageStats& stage : stages) {
    std::array<char, 64> counts{};
    std::snprintf(counts.data(), counts.size(), "  %7zu  %9llu", stage.workers,
                  static_cast<unsigned long long>(stage.items));
    table.append(stage.name).append(width - stage.name.size(), ' ').append(counts.data());
    for (const double seconds : {stage.busy, stage.starved, stage.blocked})
      table.append("  ").append(time_text(seconds, stage));
    table.append("  ").append(bar(stage));
    if (stage.dropped > 0) table.append("  dropped ").append(std::to_string(stage.dropped));
    table += '\n';
  }
  return table;
}

}  // namespace creel::scheduler
