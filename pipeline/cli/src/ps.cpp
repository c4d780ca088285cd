#include "command.hpp"

#include <creel/runtime/management/attach_client.hpp>

#include <CLI/App.hpp>

namespace creel::cli {
namespace {

constexpr const char* kFooter = R"(Example:
  creel ps
Lists what jps lists: programs of this user with a creel::Diagnostics, and JVMs. `creel dump PID` reads their threads.)";

int list() {
  std::string text = "    PID  COMMAND\n";
  for (const PublishedProcess& process : list_processes()) {
    if (!process.alive) {  // killed: what it left may go
      remove_leftovers(process.pid);
      continue;
    }
    const std::string pid = std::to_string(process.pid);
    text += std::string(pid.size() < 7 ? 7 - pid.size() : 0, ' ') + pid + "  " + process.command + "\n";
  }
  print(text);
  return 0;
}

}  // namespace

Command add_ps(CLI::App& app) {
  CLI::App* command = app.add_subcommand("ps", "List the processes whose threads can be read");
  command->footer(kFooter);
  return {command, list};
}

}  // namespace creel::cli
