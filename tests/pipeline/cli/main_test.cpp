// The command line as a user meets it: the program itself, its output and its exit codes.
#include <creel/pipeline/launch/process_table.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/management/attach_client.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const std::string kDigits = CREEL_SOURCE_DIR "/examples/configs/clip_digits.yaml";

std::string content(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

/// Runs `creel ARGUMENTS` by the shell, with `environment` in front.
Outcome run_creel(const std::string& arguments, const std::string& environment = "") {
  const creel_test::TemporaryFolder folder;
  const std::string out = (folder.path() / "out").string();
  const std::string err = (folder.path() / "err").string();
  const std::string command = environment + " " CREEL_PROGRAM " " + arguments + " >" + out + " 2>" + err;
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, content(out), content(err)};
}

// Processes with diagnostics that do nothing; killed at the end.
class Children {
 public:
  Children() = default;
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;
  ~Children() {
    for (const pid_t pid : pids_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      creel::remove_leftovers(pid);
    }
  }
  pid_t add(const creel::DiagnosticsOptions& options) {
    std::array<int, 2> ready{};
    REQUIRE(::pipe(ready.data()) == 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      const creel::Diagnostics diagnostics{options};
      if (::write(ready[1], "x", 1) != 1) ::_exit(1);
      for (;;) ::pause();
    }
    char byte = 0;
    REQUIRE(::read(ready[0], &byte, 1) == 1);
    ::close(ready[0]);
    ::close(ready[1]);
    pids_.push_back(pid);
    return pid;
  }
  const std::vector<pid_t>& pids() const noexcept { return pids_; }

 private:
  std::vector<pid_t> pids_;
};

std::string script(const fs::path& path, const std::string& body) {
  std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
  ::chmod(path.c_str(), 0700);
  return path.string();
}

}  // namespace

TEST_CASE("usage mistakes exit with 2 and say what was meant") {
  const auto check = [](const std::string& arguments, const std::string& expected) {
    const Outcome outcome = run_creel(arguments);
    CAPTURE(arguments);
    CHECK(outcome.code == 2);
    CHECK(outcome.out.empty());
    CHECK(outcome.err == "creel: " + expected + "\n");
  };
  check("rnu", "there is no command 'rnu'; did you mean run?");
  check("frobnicate --help", "there is no command 'frobnicate'; `creel --help` lists them");
  check("run", "config is required; see `creel run --help`");
  check("run x.yaml --resum", "'--resum' is no option of `creel run`; did you mean --resume?");
  check("run x.yaml --dryrun=1", "'--dryrun=1' is no option of `creel run`; did you mean --dry-run?");
  check("run x.yaml more", "'more' is no option of `creel run`; see `creel run --help`");
  check("serve --port 99999 x", "--port: Value 99999 not in range 0 to 65535; see `creel serve --help`");
  check("config trian", "there is no key or section 'trian'; did you mean train?");
  CHECK(run_creel("run x.yaml --resume --overwrite").code == 2);
  CHECK(run_creel("run none.yaml").code == 2);
}

TEST_CASE("help documents the exit codes and gives examples") {
  const Outcome help = run_creel("--help");
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  for (const char* text :
       {"0 done", "1 failed", "2 bad config", "3 missing", "4 bad data", "5 a rank was lost", "130, 143"}) {
    CHECK_MESSAGE(help.out.find(text) != std::string::npos, text);
  }
  for (const char* command : {"run", "serve", "dump", "ps", "config"}) {
    const Outcome outcome = run_creel(std::string(command) + " --help");
    CHECK(outcome.code == 0);
    CHECK_MESSAGE(outcome.out.find("Example") != std::string::npos, command);
  }
  CHECK(run_creel("").code == 2);
  CHECK(run_creel("version").out.starts_with("creel "));
}

TEST_CASE("a wrong config lists every mistake, exits with 2 in under 50 ms, and makes nothing") {
  const creel_test::TemporaryFolder folder;
  const std::string file = (folder.path() / "bad.yaml").string();
  std::ofstream(file) << "data: {source: {format: tar_shards, path: none.tar}, batch: 0}\nmodle: {}\n";
  auto fastest = std::chrono::steady_clock::duration::max();
  Outcome outcome{};
  for (int i = 0; i < 10; ++i) {  // the least of a few: others use the machine too
    const auto start = std::chrono::steady_clock::now();
    outcome = run_creel("run " + file + " --out " + (folder.path() / "run").string());
    fastest = std::min(fastest, std::chrono::steady_clock::now() - start);
  }
  CHECK(outcome.code == 2);
  CHECK(outcome.out.empty());
  CAPTURE(outcome.err);
  CHECK(outcome.err.find("mistakes in the configuration, nothing was started:\n") != std::string::npos);
  CHECK(outcome.err.find("\n" + file + ":1:43: data.source.path: no such file: ") != std::string::npos);
  CHECK(outcome.err.find("\n" + file + ":1:61: data.batch: is 0, ") != std::string::npos);
  CHECK(outcome.err.find("\n" + file + ":2:1: modle: unknown key; did you mean model?\n") !=
        std::string::npos);
  CHECK_FALSE(fs::exists(folder.path() / "run"));
  CHECK(fastest < std::chrono::milliseconds(50));
}

TEST_CASE("the order of transforms is checked before anything starts") {
  const Outcome outcome =
      run_creel("run " + kDigits + " --dry-run --set 'transforms=normalize(0.5, 0.5) | decode'");
  CHECK(outcome.code == 2);
  CHECK(outcome.err.find("put decode before it") != std::string::npos);
}

TEST_CASE("the arguments of transforms are checked with the rest") {
  const Outcome outcome = run_creel("run " + kDigits + " --set 'transforms=decode | resize(big) | flipp'");
  CHECK(outcome.code == 2);
  CHECK(outcome.err.find("transforms.train: resize(big)") != std::string::npos);
  CHECK(outcome.err.find("flipp") != std::string::npos);
}

TEST_CASE("--dry-run prints every value with its origin and starts nothing") {
  const creel_test::TemporaryFolder folder;
  const Outcome outcome =
      run_creel("run " + kDigits + " --dry-run --set data.batch=32 --set train.seed=7 --out " +
                (folder.path() / "run").string());
  CHECK(outcome.code == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.find("  batch: 32                                 # --set data.batch=32\n") !=
        std::string::npos);
  CHECK(outcome.out.find("  seed: 7                                   # --set train.seed=7\n") !=
        std::string::npos);
  CHECK(outcome.out.find("# default\n") != std::string::npos);
  CHECK(outcome.out.find("clip_digits.yaml:") != std::string::npos);
  CHECK_FALSE(fs::exists(folder.path() / "run"));
}

TEST_CASE("run starts a worker per rank, passes its verdict on, and guards its folder") {
  const creel_test::TemporaryFolder folder;
  const std::string run = (folder.path() / "run").string();
  const std::string worker =
      script(folder.path() / "worker", "echo \"$@\" >> " + (folder.path() / "calls").string());
  const std::string start = "run " + kDigits + " --out " + run;
  CHECK(run_creel(start, "CREEL_WORKER=" + worker).code == 0);
  const std::string calls = content(folder.path() / "calls");
  CAPTURE(calls);
  CHECK(calls.find("train --run-dir " + run + " --rank 0 --ranks 2 --world-fd ") != std::string::npos);
  CHECK(calls.find("train --run-dir " + run + " --rank 1 --ranks 2 --world-fd ") != std::string::npos);
  CHECK(content(run + "/config.yaml").find("batch: 64\n") != std::string::npos);

  const Outcome again = run_creel(start, "CREEL_WORKER=" + worker);
  CHECK(again.code == 2);
  CHECK(again.err.find(
            "already holds a run (config.yaml); go on with it by --resume, replace it by --overwrite") !=
        std::string::npos);
  const Outcome other = run_creel(start + " --resume --set data.batch=3", "CREEL_WORKER=" + worker);
  CHECK(other.code == 2);
  CHECK(other.err.find("was started with other values of data.batch;") != std::string::npos);
  const Outcome resumed = run_creel(start + " --resume", "CREEL_WORKER=" + worker);
  CHECK(resumed.code == 0);
  CHECK(content(folder.path() / "calls").find("train --run-dir " + run + " --resume --rank 0 ") !=
        std::string::npos);

  const std::string bad = script(folder.path() / "bad", "exit 4");
  const Outcome failed = run_creel(start + " --overwrite", "CREEL_WORKER=" + bad);
  CHECK(failed.code == 4);
  CHECK(failed.err.find("failed with exit code 4 (bad data)") != std::string::npos);
  CHECK(failed.err.find("--resume") != std::string::npos);
  const Outcome missing = run_creel(start + " --overwrite", "CREEL_WORKER=/nonexistent");
  CHECK(missing.code == 3);
}

TEST_CASE("serve becomes the worker") {
  const creel_test::TemporaryFolder folder;
  const std::string worker = script(folder.path() / "worker", "echo $$ \"$@\"; exit 7");
  CHECK(run_creel("serve " + folder.path().string(), "CREEL_WORKER=" + worker).code == 3);  // no run there
  std::ofstream(folder.path() / "config.yaml") << "name: x\n";
  // The shell says its number, then becomes creel, which becomes the worker: one process all along.
  const Outcome outcome = run_creel("serve " + folder.path().string() + " --port 81",
                                    "sh -c 'echo $$; exec \"$@\"' sh env CREEL_WORKER=" + worker);
  CHECK(outcome.code == 7);
  const std::string number = outcome.out.substr(0, outcome.out.find('\n'));
  CHECK(outcome.out == number + "\n" + number + " serve --run-dir " + folder.path().string() +
                           " --host 127.0.0.1 --port 81\n");
}

TEST_CASE("dump and ps need something that lives") {
  const creel_test::TemporaryFolder folder;
  const Outcome nothing = run_creel("dump " + folder.path().string());
  CHECK(nothing.code == 3);
  CHECK(nothing.err.find("no process of a run lives in") != std::string::npos);
  CHECK(run_creel("dump nowhere").code == 3);
  const Outcome ps = run_creel("ps");
  CHECK(ps.code == 0);
  CHECK(ps.out.starts_with("    PID  COMMAND\n"));
}

TEST_CASE(
    "all processes of a run are dumped at once, and those that do not answer cost one deadline together") {
  const creel_test::TemporaryFolder folder;
  Children ranks;
  for (int i = 0; i < 3; ++i) ranks.add({.name = "rank"});
  creel::pipeline::ProcessTable table;
  for (const pid_t pid : ranks.pids()) table.ranks.push_back(*creel::pipeline::ProcessIdentity::of(pid));
  table.write(folder.path());
  const Outcome all = run_creel("dump " + folder.path().string());
  CHECK(all.code == 0);
  for (const char* title : {"==== rank 0 of 3, pid ", "==== rank 1 of 3, pid ", "==== rank 2 of 3, pid "})
    CHECK(all.out.find(title) != std::string::npos);

  ::kill(ranks.pids()[0], SIGSTOP);
  ::kill(ranks.pids()[2], SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  const Outcome some = run_creel("dump " + folder.path().string());
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(9));  // 5 each
  CHECK(some.code == 1);
  CHECK(some.out.find("==== rank 1 of 3, pid ") != std::string::npos);
  CHECK(some.err.find("rank 0 of 3") != std::string::npos);
  CHECK(some.err.find("rank 2 of 3") != std::string::npos);
}

TEST_CASE("the server of a run is found by the run's folder") {
  const creel_test::TemporaryFolder folder, other;
  Children server;
  server.add(
      {.name = "creel-worker",
       .arguments = {"serve", "--run-dir", folder.path().string(), "--host", "127.0.0.1", "--port", "0"}});
  const Outcome found = run_creel("dump " + folder.path().string());
  CHECK(found.code == 0);
  CHECK(found.out.starts_with("==== server, pid " + std::to_string(server.pids()[0]) + " ====\n"));
  CHECK(run_creel("dump " + other.path().string()).code == 3);
}

TEST_CASE("ps removes what a killed process left") {
  Children child;
  const pid_t pid = child.add({.name = "to be killed"});
  const std::string socket = "/tmp/.java_pid" + std::to_string(pid);
  CHECK(run_creel("ps").out.find(" " + std::to_string(pid) + "  to be killed\n") != std::string::npos);
  CHECK(fs::exists(socket));
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  CHECK(fs::exists(socket));
  CHECK(run_creel("ps").out.find("to be killed") == std::string::npos);
  CHECK_FALSE(fs::exists(socket));
}

TEST_CASE("the keys can be listed whole or in part, and the page of them is current") {
  const Outcome part = run_creel("config train.optimizer");
  CHECK(part.code == 0);
  CHECK(part.out.find("train.optimizer.lr: number, above 0\n") == part.out.find("train.optimizer.lr"));
  CHECK(part.out.find("train.seed") == std::string::npos);
  CHECK(run_creel("config --markdown").out == content(CREEL_SOURCE_DIR "/docs/config.md"));
}

TEST_CASE("creel does not load LibTorch") {
  const creel_test::TemporaryFolder folder;
  const std::string out = (folder.path() / "ldd").string();
  REQUIRE(std::system(("ldd " CREEL_PROGRAM " > " + out).c_str()) == 0);
  const std::string libraries = content(out);
  CHECK(libraries.find("libc.so") != std::string::npos);
  CHECK(libraries.find("torch") == std::string::npos);
  CHECK(libraries.find("c10") == std::string::npos);
}
