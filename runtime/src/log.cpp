#include <creel/runtime/log.hpp>
#include <creel/runtime/thread.hpp>

#include <unistd.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace creel::log {
namespace {

Level level_from_environment() noexcept {
  const char* text = std::getenv("CREEL_LOG");
  if (text == nullptr) return Level::Info;
  constexpr std::array<std::string_view, 5> kNames{"debug", "info", "warn", "error", "off"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == text) return static_cast<Level>(i);
  }
  return Level::Info;
}

std::atomic<Level>& threshold() noexcept {
  static std::atomic<Level> level{level_from_environment()};
  return level;
}

void append_value(std::string& line, std::string_view value) {
  const bool plain = !value.empty() && value.find_first_of(" \t\n\"=") == std::string_view::npos;
  if (plain) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    if (c == '\n') {
      line += "\\n";
    } else {
      line += c;
    }
  }
  line += '"';
}

void append_time(std::string& line) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  std::tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  std::array<char, 40> text{};
  std::size_t used = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  line.append(text.data(), used);
  const std::string millis = std::to_string(1000 + now.tv_nsec / 1000000);
  line.append(".").append(millis, 1, 3).append("Z");
}

}  // namespace

Field::Field(std::string_view k, double v) : key(k) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), v).ptr;
  value.assign(text.data(), end);
}

void write(Level level, std::string_view event, std::initializer_list<Field> fields) noexcept {
  if (level < threshold().load(std::memory_order_relaxed)) return;  // a late change may miss one line
  try {
    constexpr std::array<std::string_view, 4> kNames{"DEBUG", "INFO ", "WARN ", "ERROR"};
    std::string line;
    line.reserve(160);
    append_time(line);
    line.append(" ").append(kNames[static_cast<std::size_t>(level)]).append(" ").append(event);
    line += " thread=";
    append_value(line, Thread::current_name());
    for (const Field& field : fields) {
      line.append(" ").append(field.key).append("=");
      append_value(line, field.value);
    }
    line += '\n';
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, line.data(), line.size());
  } catch (...) {  // out of memory: a log line is never worth the program
  }
}

void set_level(Level level) noexcept { threshold().store(level, std::memory_order_relaxed); }
Level level() noexcept { return threshold().load(std::memory_order_relaxed); }

}  // namespace creel::log
