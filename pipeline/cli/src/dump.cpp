#include "command.hpp"

#include <creel/pipeline/launch/process_table.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/management/attach_client.hpp>

#include <CLI/App.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>

namespace creel::cli {
namespace {

using namespace std::chrono_literals;

constexpr const char* kFooter = R"(Examples:
  creel dump 41233                  the threads of one process, as jstack prints them
  creel dump runs/clip_digits       those of every rank of a run, and of its launcher
  creel dump runs/clip_digits       while `creel serve runs/clip_digits` answers: the server's
  creel dump 41233 --json           with the keys of the JDK's Thread.dump_to_file
Works with any program that has a creel::Diagnostics, and with a JVM.)";

// All are asked at once and have this long together: a process that does not answer keeps no other one's dump
// from being seen, and a run of many ranks takes no longer than one.
constexpr auto kPatience = 5s;

struct DumpOptions {
  std::string target;
  bool json = false;
  bool locks = false;
};

struct Target {
  std::string title;  // "rank 0 of 2"; empty for a process named by its number
  pid_t pid;
};

// The server that `creel serve RUN_DIR` has become tells the folder in its command line.
std::vector<Target> servers_of(const std::filesystem::path& run_dir) {
  constexpr std::string_view kBefore = " serve --run-dir ", kBehind = " --host ";
  std::vector<Target> servers;
  for (const PublishedProcess& process : list_processes()) {
    const std::size_t at = process.command.find(kBefore);
    if (!process.alive || at == std::string::npos) continue;
    const std::size_t begin = at + kBefore.size();
    const std::string folder = process.command.substr(begin, process.command.rfind(kBehind) - begin);
    std::error_code missing;
    if (std::filesystem::equivalent(folder, run_dir, missing)) servers.push_back({"server", process.pid});
  }
  return servers;
}

std::vector<Target> targets_of(const std::string& target) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(target.data(), target.data() + target.size(), pid);
  if (error == std::errc() && end == target.data() + target.size() && pid > 0) return {{"", pid}};
  if (!std::filesystem::is_directory(target)) {
    throw Error(
        "'" + target + "' is neither a process number nor a run folder; `creel ps` lists the processes",
        ErrorCode::Missing);
  }
  std::vector<Target> targets;
  if (const auto table = pipeline::ProcessTable::read(target)) {
    for (std::size_t rank = 0; rank < table->ranks.size(); ++rank) {
      if (!table->ranks[rank].is_alive()) continue;
      targets.push_back({"rank " + std::to_string(rank) + " of " + std::to_string(table->ranks.size()),
                         table->ranks[rank].pid});
    }
    if (table->launcher.is_alive()) targets.push_back({"launcher", table->launcher.pid});
  }
  const std::vector<Target> servers = servers_of(target);
  targets.insert(targets.end(), servers.begin(), servers.end());
  if (targets.empty()) {
    throw Error("no process of a run lives in " + target + "; `creel ps` lists the processes",
                ErrorCode::Missing);
  }
  return targets;
}

std::string dump_of(const Target& target, const DumpOptions& options, Deadline deadline) {
  if (options.json) return attach_execute(target.pid, "jcmd", {"Thread.print -json"}, deadline);
  return attach_execute(target.pid, "threaddump", {options.locks ? "-l" : ""}, deadline);
}

// Each in a thread of its own: the client waits on sockets and for processes to begin to listen.
std::vector<Future<std::string>> ask(const std::vector<Target>& targets, const DumpOptions& options) {
  const Deadline deadline = kPatience;
  const auto threads = executors::new_fixed_thread_pool(targets.size());
  std::vector<Future<std::string>> dumps;
  for (const Target& target : targets) {
    dumps.push_back(
        threads->submit([&target, &options, deadline] { return dump_of(target, options, deadline); }));
  }
  return dumps;  // whole: the pool's destructor waits for its tasks
}

// One JSON object: {"processes": [{"name": "rank 0 of 2", "pid": 7, "dump": {"threadDump": …}}]}.
std::string json_entry(const Target& target, const std::string& dump, bool first) {
  return std::string(first ? "{\"processes\": [" : ",") + "\n{\"name\": \"" + target.title +
         "\", \"pid\": " + std::to_string(target.pid) + ", \"dump\": " + dump + "}";
}

int dump(const DumpOptions& options) {
  const std::vector<Target> targets = targets_of(options.target);
  const bool merged = !targets.front().title.empty();
  int failed = 0;
  bool first = true;
  const std::vector<Future<std::string>> dumps = ask(targets, options);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const Target& target = targets[i];
    try {
      const std::string& text = dumps[i].get();
      if (!merged) {
        print(text);
      } else if (options.json) {
        print(json_entry(target, text, first));
      } else {
        print((first ? "" : "\n") +
              ("==== " + target.title + ", pid " + std::to_string(target.pid) + " ====\n") + text);
      }
      first = false;
    } catch (const Error& e) {
      complain((merged ? target.title + ": " : "") + e.what());
      ++failed;
    }
  }
  if (merged && options.json) print(first ? "{\"processes\": []}\n" : "\n]}\n");
  return failed == 0 ? 0 : 1;
}

}  // namespace

Command add_dump(CLI::App& app) {
  auto options = std::make_shared<DumpOptions>();
  CLI::App* command = app.add_subcommand("dump", "Show what every thread of a process or a run is doing");
  command->footer(kFooter);
  command->add_option("target", options->target, "Process number, or the folder of a run that works")
      ->required()
      ->type_name("PID|RUN_DIR");
  command->add_flag("--json", options->json, "As JSON");
  command->add_flag("-l,--locks", options->locks, "Also the locks that each thread holds (jstack -l)");
  return {command, [options] { return dump(*options); }};
}

}  // namespace creel::cli
