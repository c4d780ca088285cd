#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace creel::pipeline {
namespace {

using namespace std::chrono_literals;

constexpr auto kRedraw = 100ms;
constexpr auto kPlainLine = 5s;
constexpr int kBarWidth = 20;

void write_stderr(const std::string& text) noexcept {
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
}

std::size_t terminal_columns() noexcept {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

/// True for a terminal that understands carriage return; TERM=dumb (an editor's shell) does not.
bool is_terminal() noexcept {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

std::string bar(double share) {
  const int full = static_cast<int>(std::lround(std::clamp(share, 0.0, 1.0) * kBarWidth));
  std::string text = "[";
  text.append(static_cast<std::size_t>(full), '#').append(static_cast<std::size_t>(kBarWidth - full), '.');
  return text + "]";
}

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  std::array<char, 32> text{};
  int used = 0;
  if (whole < 60) {
    used = std::snprintf(text.data(), text.size(), "%lld s", static_cast<long long>(whole));
  } else if (whole < 3600) {
    used = std::snprintf(text.data(), text.size(), "%lld:%02lld", static_cast<long long>(whole / 60),
                         static_cast<long long>(whole % 60));
  } else {
    used = std::snprintf(text.data(), text.size(), "%lld:%02lld:%02lld", static_cast<long long>(whole / 3600),
                         static_cast<long long>(whole / 60 % 60), static_cast<long long>(whole % 60));
  }
  return {text.data(), static_cast<std::size_t>(used)};
}

Progress::Progress(std::string title, bool quiet)
    : title_(std::move(title)),
      quiet_(quiet),
      terminal_(!quiet && is_terminal()),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() { finish(); }

void Progress::update(const State& state) {
  if (quiet_) return;
  const auto now = std::chrono::steady_clock::now();
  if (first_step_ < 0) {
    first_step_ = state.step;
    start_ = now;  // the first step includes warming up: the estimate counts from its end
  }
  const bool last = state.step == state.steps;
  const auto pause = terminal_ ? std::chrono::nanoseconds(kRedraw) : std::chrono::nanoseconds(kPlainLine);
  if (!last && drawn_ && now - shown_ < pause) return;
  shown_ = now;
  std::string text = line(state);
  if (terminal_) {
    const std::size_t columns = terminal_columns();
    if (text.size() >= columns) text.resize(columns - 1);
    write_stderr("\r" + text + "\x1b[K");
  } else {
    write_stderr(text + "\n");
  }
  drawn_ = true;
}

void Progress::finish() noexcept {
  if (terminal_ && drawn_) write_stderr("\n");
  drawn_ = false;
}

std::string Progress::line(const State& state) const {
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const auto done = static_cast<double>(state.step - first_step_);
  const auto left = static_cast<double>(state.steps - state.step);
  const std::string eta = done > 0 ? format_duration(elapsed / done * left) : "?";
  std::array<char, 160> text{};
  const int used = std::snprintf(
      text.data(), text.size(), " epoch %lld/%lld  step %lld/%lld  loss %.4f  %.0f images/s  ETA %s",
      static_cast<long long>(state.epoch + 1), static_cast<long long>(state.epochs),
      static_cast<long long>(state.step), static_cast<long long>(state.steps), state.loss, state.images_per_s,
      eta.c_str());
  const std::string numbers(text.data(), std::min(static_cast<std::size_t>(used), text.size() - 1));
  if (!terminal_) return title_ + numbers;
  return title_ + " " +
         bar(static_cast<double>(state.step) / static_cast<double>(std::max<std::int64_t>(state.steps, 1))) +
         numbers;
}

}  // namespace creel::pipeline
