#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creel::bench {

/// A program and its words, with what is added to the environment.
struct Command {
  std::vector<std::string> words;
  std::vector<std::pair<std::string, std::string>> environment = {};
};

/// A child process that is read line by line. It is killed if it is still there at the end.
class Program {
 public:
  /// Throws IoError if it cannot be started. Its standard error is ours, unless `with_errors`: then it is
  /// read too.
  explicit Program(const Command& command, bool with_errors = false);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const noexcept { return pid_; }
  /// The next line of its standard output; none at its end. Throws TimeoutError.
  std::optional<std::string> read_line(Deadline deadline);
  /// Its standard input ends.
  void close_input() { input_.reset(); }
  /// Waits for its end: its exit code, 128 + the signal that killed it.
  int wait();

 private:
  pid_t pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
  std::string unread_;
};

/// Runs it to its end: exit code and output, errors included. For compilers and `--version`.
std::pair<int, std::string> run_to_end(const Command& command, Deadline deadline);

/// `metric peer value unit`.
struct Line {
  std::string metric;
  std::string peer;
  double value = 0;
  std::string unit;
};
std::optional<Line> parse_line(std::string_view text);

}  // namespace creel::bench
