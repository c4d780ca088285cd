#include "transport/blame.hpp"

#include <array>
#include <cstdio>
#include <fstream>
#include <vector>

namespace creel::comm::detail {
namespace {

// "stopped", "gone", "running": from the state letter after the name in /proc/PID/stat.
std::string process_state(int pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(in, line)) return "gone";
  const std::size_t name_end = line.rfind(')');  // the name may hold anything
  if (name_end == std::string::npos || name_end + 2 >= line.size()) return "gone";
  switch (line[name_end + 2]) {
    case 'T':
    case 't':
      return "stopped";
    case 'Z':
    case 'X':
      return "dead";
    case 'D':
      return "blocked in the kernel";
    case 'S':
      return "asleep elsewhere";
    default:
      return "running";
  }
}

std::string format_seconds(std::chrono::duration<double> duration) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.4g s", duration.count());
  return text.data();
}

}  // namespace

Blame find_blame(const SharedSegment& segment, int waiter, int peer, std::uint64_t sequence,
                 std::chrono::duration<double> waited) {
  std::vector<bool> seen(static_cast<std::size_t>(segment.ranks()));
  seen[static_cast<std::size_t>(waiter)] = true;
  int rank = peer;
  RankSnapshot snapshot = segment.snapshot(rank);
  while (snapshot.active && snapshot.waiting_for >= 0 &&
         !seen[static_cast<std::size_t>(snapshot.waiting_for)]) {
    seen[static_cast<std::size_t>(rank)] = true;
    rank = snapshot.waiting_for;
    snapshot = segment.snapshot(rank);
  }
  Blame blame{rank, {}};
  if (snapshot.pid == 0) {
    blame.what = "has not joined within " + format_seconds(waited);
    return blame;
  }
  const bool inside = snapshot.active && snapshot.operation.sequence >= sequence;
  blame.what =
      (inside ? "has entered but not moved for " : "has not entered within ") + format_seconds(waited);
  blame.what += "; its process " + std::to_string(snapshot.pid) + " is " + process_state(snapshot.pid);
  if (!inside && snapshot.operation.sequence > 0) {
    blame.what += snapshot.active ? " in " : ", after ";
    blame.what += doing(snapshot.operation);
  }
  return blame;
}

}  // namespace creel::comm::detail
