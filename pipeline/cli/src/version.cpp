#include "command.hpp"

#include <CLI/App.hpp>

namespace creel::cli {

Command add_version(CLI::App& app) {
  CLI::App* command = app.add_subcommand("version", "Print the version");
  return {command, [] {
            print("creel " CREEL_VERSION " (" __VERSION__ ")\n");
            return 0;
          }};
}

}  // namespace creel::cli
