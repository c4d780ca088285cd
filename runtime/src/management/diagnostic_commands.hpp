#pragma once

#include "attach_request.hpp"

#include <chrono>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace creel::detail {

/// What jstack, jcmd and jinfo may ask of a process: the attach protocol's commands, and jcmd's diagnostic
/// commands
/// (`Thread.print -l`), which come as the argument of one of them.
class DiagnosticCommands {
 public:
  /// `command_line` is the name and arguments that jps shows.
  explicit DiagnosticCommands(std::string command_line);

  AttachReply execute(const AttachRequest& request) const;

 private:
  using Words = std::span<const std::string>;
  struct Command {
    std::string_view name;
    std::string_view help;     ///< one line
    std::string_view options;  ///< one line each
    AttachReply (DiagnosticCommands::*run)(Words arguments) const;
  };
  static const std::vector<Command>& commands();

  AttachReply run_jcmd(std::string_view line) const;
  AttachReply help(Words arguments) const;
  AttachReply print_threads(Words arguments) const;
  AttachReply dump_threads_to_file(Words arguments) const;
  AttachReply version(Words arguments) const;
  AttachReply uptime(Words arguments) const;
  AttachReply print_command_line(Words arguments) const;
  AttachReply flags(Words arguments) const;
  AttachReply system_properties(Words arguments) const;
  AttachReply log_level(Words arguments) const;
  std::string agent_properties() const;

  std::string command_line_;
  std::chrono::steady_clock::time_point start_;
};

/// The dump that SIGQUIT prints, written to a file descriptor.
void write_thread_dump(int fd);

}  // namespace creel::detail
