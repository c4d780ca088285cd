#include "command.hpp"

#include <creel/pipeline/config/nearest_name.hpp>
#include <creel/runtime/error.hpp>

#include <CLI/App.hpp>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>

namespace creel::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  creel bench runtime --only fib32 --repeat 1
  creel bench runtime --rivals --venv ~/venv         beside Java, Go, oneTBB and Boost.Fiber, with the goals
  creel bench collectives --help
A benchmark NAME is a program creel-bench-NAME beside creel. In a checkout `./creelw bench NAME` builds it first.)";

constexpr std::string_view kPrefix = "creel-bench-";

std::filesystem::path own_folder() { return std::filesystem::read_symlink("/proc/self/exe").parent_path(); }

std::vector<std::string> benchmarks() {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(own_folder())) {
    const std::string name = file.path().filename();
    if (name.starts_with(kPrefix) && ::access(file.path().c_str(), X_OK) == 0) {
      names.push_back(name.substr(kPrefix.size()));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

int list() {
  const std::vector<std::string> names = benchmarks();
  if (names.empty()) {
    throw Error("there is no benchmark beside creel; in a checkout ./creelw bench NAME builds one",
                ErrorCode::Missing);
  }
  for (const std::string& name : names) print(name + "\n");
  return 0;
}

// Becomes the benchmark instead of starting it: signals and the exit code need no forwarding.
int become(std::vector<std::string> words) {
  const std::string name = words.front();
  const std::vector<std::string> names = benchmarks();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    const auto near = pipeline::nearest_name(name, names);
    throw Error("there is no benchmark '" + name + "' beside creel; " +
                    (near ? "did you mean " + *near + "?"
                          : "`creel bench` lists those that are built, ./creelw bench NAME builds one"),
                ErrorCode::Config);
  }
  words.front() = own_folder() / (std::string(kPrefix) + name);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);  // exec would keep it ignored
  ::execv(argv.front(), argv.data());
  throw IoError("cannot start", words.front(), errno);
}

}  // namespace

Command add_bench(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "Run a benchmark; without a name, list them");
  command->footer(kFooter);
  command->prefix_command();  // what follows the name is the benchmark's
  return {command, [command] {
            const std::vector<std::string> words = command->remaining();
            return words.empty() ? list() : become(words);
          }};
}

}  // namespace creel::cli
