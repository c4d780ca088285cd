#include <creel/comm/operation.hpp>

#include <array>
#include <cstdio>

namespace creel::comm {

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  std::string number = text.data();
  if (number.ends_with(".0")) number.resize(number.size() - 2);
  return number + " " + kUnits[unit];
}

namespace {

std::string head(const Operation& operation) {
  return std::string(name(operation.collective)) + " #" + std::to_string(operation.sequence);
}

}  // namespace

std::string doing(const Operation& operation, int waiting_for) {
  std::string text = head(operation);
  if (operation.collective != Collective::Barrier) text += ", " + format_bytes(operation.bytes);
  if (waiting_for >= 0) text += ", waiting for rank " + std::to_string(waiting_for);
  if (!operation.label.empty()) text.append(" (").append(operation.label).append(")");
  return text;
}

std::string title(const Operation& operation) {
  if (operation.collective == Collective::Barrier) return head(operation);
  return head(operation) + " (" + format_bytes(operation.bytes) + ")";
}

std::string describe(const Operation& operation) {
  if (operation.collective == Collective::Barrier) return head(operation);
  std::string text = head(operation) + " of " + format_bytes(operation.bytes);
  // Sizes that round to the same text must still be told apart.
  if (operation.bytes >= 1024) text += " (" + std::to_string(operation.bytes) + " bytes)";
  text.append(", ").append(name(operation.dtype));
  switch (operation.collective) {
    case Collective::AllReduce:
    case Collective::ReduceScatter:
      return text.append(" ").append(name(operation.reduce));
    case Collective::Broadcast:
      return text + " from rank " + std::to_string(operation.root);
    case Collective::AllGather:
    case Collective::Barrier:
      break;
  }
  return text;
}

}  // namespace creel::comm
