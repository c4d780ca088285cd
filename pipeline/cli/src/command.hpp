#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace creel::cli {

/// One verb of the command line: its options, and what it does once they are parsed. `run` returns the exit
/// code. One that takes a prefix (CLI::App::prefix_command) looks itself at the words that it has not parsed.
struct Command {
  CLI::App* options = nullptr;
  std::function<int()> run;
};

// One file each. They add their options to `app` and own what the options fill.
Command add_run(CLI::App& app);
Command add_serve(CLI::App& app);
Command add_dump(CLI::App& app);
Command add_ps(CLI::App& app);
Command add_bench(CLI::App& app);
Command add_config(CLI::App& app);
Command add_version(CLI::App& app);

/// The words this process was started with, for the name that jps and `creel ps` show.
void remember_arguments(int argc, char** argv);
const std::vector<std::string>& arguments();

/// `creel: text` on standard error, in red on a terminal that wants colour (NO_COLOR is not set).
void complain(const std::string& text);
void say(const std::string& text);

/// Writes to standard output in full; ends quietly if the reader (`| head`) has gone.
void print(const std::string& text);

}  // namespace creel::cli
