#include "command.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace creel::cli {
namespace {

std::vector<std::string> words;

bool wants_colour(int fd) {
  const char* off = std::getenv("NO_COLOR");
  const char* kind = std::getenv("TERM");
  return ::isatty(fd) == 1 && (off == nullptr || *off == '\0') && kind != nullptr &&
         std::string_view(kind) != "dumb";
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

void remember_arguments(int argc, char** argv) { words.assign(argv, argv + argc); }

const std::vector<std::string>& arguments() { return words; }

void complain(const std::string& text) {
  const bool colour = wants_colour(STDERR_FILENO);
  write_all(STDERR_FILENO, std::string(colour ? "\033[31mcreel:\033[0m " : "creel: ") + text + "\n");
}

void say(const std::string& text) { write_all(STDERR_FILENO, "creel: " + text + "\n"); }

void print(const std::string& text) { write_all(STDOUT_FILENO, text); }

}  // namespace creel::cli
