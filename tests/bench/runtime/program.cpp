#include "program.hpp"

#include <creel/runtime/error.hpp>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <sstream>

extern char** environ;

namespace creel::bench {
namespace {

struct Pipe {
  UniqueFd read_end, write_end;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw IoError("cannot make a pipe", "", errno);
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& added) {
  std::vector<std::string> all;
  for (const auto& [name, value] : added) all.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    bool replaced = false;
    for (const auto& [name, value] : added) replaced = replaced || text.starts_with(name + "=");
    if (!replaced) all.emplace_back(text);
  }
  return all;
}

}  // namespace

Program::Program(const Command& command, bool with_errors) {
  Pipe input;
  Pipe output;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input.read_end.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output.write_end.get(), STDOUT_FILENO);
  if (with_errors) ::posix_spawn_file_actions_adddup2(&actions, output.write_end.get(), STDERR_FILENO);
  std::vector<std::string> words = command.words;
  std::vector<std::string> environment = environment_with(command.environment);
  const int failed = ::posix_spawnp(&pid_, words.front().c_str(), &actions, nullptr, pointers(words).data(),
                                    pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    pid_ = -1;
    throw IoError("cannot start", words.front(), failed);
  }
  input_ = std::move(input.write_end);
  output_ = std::move(output.read_end);
}

Program::~Program() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

std::optional<std::string> Program::read_line(Deadline deadline) {
  for (;;) {
    if (const std::size_t end = unread_.find('\n'); end != std::string::npos) {
      std::string line = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return line;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.remaining()).count();
    pollfd waiting{output_.get(), POLLIN, 0};
    const int ready = ::poll(&waiting, 1, deadline.is_never() ? -1 : static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) throw TimeoutError("process " + std::to_string(pid_) + " says nothing any more");
    std::array<char, 65536> bytes;
    const ssize_t size = ::read(output_.get(), bytes.data(), bytes.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      if (unread_.empty()) return std::nullopt;
      return std::exchange(unread_, {});
    }
    unread_.append(bytes.data(), static_cast<std::size_t>(size));
  }
}

int Program::wait() {
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::pair<int, std::string> run_to_end(const Command& command, Deadline deadline) {
  Program program(command, true);
  program.close_input();
  std::string output;
  while (const std::optional<std::string> line = program.read_line(deadline)) output += *line + "\n";
  return {program.wait(), output};
}

std::optional<Line> parse_line(std::string_view text) {
  std::istringstream words{std::string(text)};
  Line line;
  std::string value;
  std::string more;
  if (!(words >> line.metric >> line.peer >> value >> line.unit) || words >> more) return std::nullopt;
  const char* end = value.data() + value.size();
  const auto [stop, error] = std::from_chars(value.data(), end, line.value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return line;
}

}  // namespace creel::bench
