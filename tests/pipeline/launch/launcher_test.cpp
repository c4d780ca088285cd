#include <creel/pipeline/launch/launcher.hpp>
#include <creel/pipeline/launch/process_table.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

using namespace creel::pipeline;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

/// A launcher with its ranks in a process group of its own; stdout is a pipe that all of them hold, so that
/// its end says that all are gone.
class Launched {
 public:
  explicit Launched(std::vector<std::string> modes, int grace_ms = 3000) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    out_.reset(ends[0]);
    const creel::UniqueFd write_end(ends[1]);
    const std::string errors = (folder_ / "stderr").string();
    std::vector<std::string> words{LAUNCHER_PROGRAM, folder_.path().string(), WORKER_PROGRAM,
                                   std::to_string(grace_ms)};
    words.insert(words.end(), modes.begin(), modes.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) {
      ::setpgid(0, 0);
      const int file = ::open(errors.c_str(), O_WRONLY | O_CREAT, 0600);
      ::dup2(file, STDERR_FILENO);
      ::dup2(write_end.get(), STDOUT_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(96);
    }
    ::setpgid(pid_, pid_);  // whichever of the two comes first
    for (std::size_t i = 0; i < modes.size(); ++i) read_ready();
  }
  ~Launched() {
    if (!status_) ::kill(-pid_, SIGKILL);
    if (!status_) ::waitpid(pid_, nullptr, 0);
  }
  Launched(const Launched&) = delete;
  Launched& operator=(const Launched&) = delete;

  pid_t pid() const { return pid_; }
  pid_t rank(int r) const { return ranks_.at(r); }
  const std::filesystem::path& folder() const { return folder_.path(); }

  /// Exit code (or minus the signal) once the launcher and all ranks are gone.
  int wait() {
    while (read_line(20s)) {
    }
    int status = 0;
    REQUIRE(::waitpid(pid_, &status, 0) == pid_);
    status_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return *status_;
  }
  std::string errors() const {
    std::ifstream file(folder_ / "stderr");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  std::optional<std::string> read_line(std::chrono::milliseconds limit) {
    const auto end = Clock::now() + limit;
    for (;;) {
      if (const std::size_t at = buffer_.find('\n'); at != std::string::npos) {
        std::string line = buffer_.substr(0, at);
        buffer_.erase(0, at + 1);
        return line;
      }
      pollfd fd{out_.get(), POLLIN, 0};
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      REQUIRE_MESSAGE(left > 0, "the launcher or a rank is still there");
      if (::poll(&fd, 1, static_cast<int>(left)) <= 0) continue;
      char bytes[256];
      const ssize_t got = ::read(out_.get(), bytes, sizeof bytes);
      if (got <= 0) return std::nullopt;
      buffer_.append(bytes, static_cast<std::size_t>(got));
    }
  }

 private:
  void read_ready() {
    const auto line = read_line(20s);
    REQUIRE_MESSAGE(line, errors());
    int rank = -1;
    int pid = 0;
    REQUIRE(std::sscanf(line->c_str(), "ready %d %d", &rank, &pid) == 2);
    ranks_[rank] = pid;
  }

  creel_test::TemporaryFolder folder_;
  creel::UniqueFd out_;
  std::string buffer_;
  pid_t pid_ = 0;
  std::map<int, pid_t> ranks_;
  std::optional<int> status_;
};

std::string killed_text(int rank, pid_t pid) {
  return "rank " + std::to_string(rank) + " (pid " + std::to_string(pid) +
         ") was killed by signal 9 (SIGKILL)";
}

}  // namespace

TEST_CASE("ranks that end well end the run with 0 and leave no table") {
  Launched run({"end", "end", "end"});
  CHECK(run.wait() == 0);
  CHECK(run.errors().empty());
  CHECK_FALSE(std::filesystem::exists(run.folder() / "processes.json"));
}

TEST_CASE("a killed rank ends the run: 5, its name, and what the other waited for") {
  Launched run({"barrier", "hang"});
  const auto start = Clock::now();
  ::kill(run.rank(1), SIGKILL);
  CHECK(run.wait() == 5);
  CHECK(Clock::now() - start < 5s);
  const std::string errors = run.errors();
  CAPTURE(errors);
  CHECK(errors.find(killed_text(1, run.rank(1)) + "; rank 0 was waiting in barrier #1") != std::string::npos);
  CHECK(errors.find(", for rank 1\n") != std::string::npos);
  CHECK(errors.find("did not leave") == std::string::npos);  // it left by itself
  CHECK_FALSE(std::filesystem::exists(run.folder() / "processes.json"));
}

TEST_CASE("of several ranks each says what it waited for") {
  Launched run({"barrier", "hang", "barrier"});
  ::kill(run.rank(1), SIGKILL);
  CHECK(run.wait() == 5);
  const std::string errors = run.errors();
  CAPTURE(errors);
  // Whom each waits for is the barrier's matter: one may wait for another that waits for the lost one.
  const std::size_t message = errors.find(killed_text(1, run.rank(1)));
  REQUIRE(message != std::string::npos);
  CHECK(errors.find("waiting in barrier #1", message) != std::string::npos);
  CHECK(errors.find("not waiting for a peer", message) == std::string::npos);
}

TEST_CASE("a rank that does not leave is killed after the grace") {
  Launched run({"hang", "hang"}, 200);
  ::kill(run.rank(0), SIGKILL);
  CHECK(run.wait() == 5);
  const std::string errors = run.errors();
  CAPTURE(errors);
  CHECK(
      errors.find(killed_text(0, run.rank(0)) +
                  "; rank 1 was not waiting for a peer; rank 1 did not leave within 200 ms and was killed") !=
      std::string::npos);
}

TEST_CASE("a rank's own exit code goes before 5") {
  Launched run({"barrier", "exit4"});
  CHECK(run.wait() == 4);
  const std::string errors = run.errors();
  CAPTURE(errors);
  CHECK(errors.find("rank 1 (pid " + std::to_string(run.rank(1)) +
                    ") failed with exit code 4 (bad data); rank 0 was waiting in barrier #1") !=
        std::string::npos);
}

TEST_CASE("a rank that ends well does not end the others") {
  Launched run({"end", "train"});
  ::kill(run.pid(), SIGTERM);
  CHECK(run.wait() == 143);
}

TEST_CASE("SIGTERM and SIGINT ask the ranks to stop") {
  for (const int signal : {SIGTERM, SIGINT}) {
    CAPTURE(signal);
    Launched run({"train", "train"});
    const auto table = ProcessTable::read(run.folder());
    ::kill(run.pid(), signal);
    CHECK(run.wait() == 128 + signal);
    CHECK(run.errors().find("stopped by signal " + std::to_string(signal)) != std::string::npos);
  }
}

TEST_CASE("Ctrl-C of a terminal goes to the whole group and is one request") {
  Launched run({"train", "train"});
  ::kill(-run.pid(), SIGINT);
  CHECK(run.wait() == 130);
}

TEST_CASE("the same signal twice at once is one request, as timeout(1) sends it") {
  for (int attempt = 0; attempt < 20; ++attempt) {
    Launched run({"stop_when_told"});
    const auto start = Clock::now();
    ::kill(run.pid(), SIGTERM);
    REQUIRE(run.read_line(20s));  // the rank was asked: the launcher has taken the first signal
    ::kill(run.pid(), SIGTERM);
    const bool at_once =
        Clock::now() - start < 100ms;  // else the machine is too busy for this to mean anything
    ::kill(run.rank(0), SIGUSR1);
    CHECK((run.wait() == 143));
    if (!at_once) continue;
    CHECK(run.errors().find("second signal") == std::string::npos);
    return;
  }
  FAIL("never managed two signals within 100 ms");
}

TEST_CASE("a second signal kills ranks that do not stop") {
  Launched run({"hang", "hang"});
  ::kill(run.pid(), SIGTERM);
  ::kill(run.pid(), SIGINT);
  const int code = run.wait();
  CHECK((code == 143 || code == 130));  // which of two pending signals comes first is the kernel's choice
  CHECK(run.errors().find("second signal") != std::string::npos);
}

TEST_CASE("a rank that was asked to stop alone takes the others along") {
  Launched run({"train", "stop_alone"});
  CHECK(run.wait() == 143);
}

TEST_CASE("the ranks die with the launcher") {
  Launched run({"hang", "barrier", "train"});
  ::kill(run.pid(), SIGKILL);
  CHECK(run.wait() == -SIGKILL);  // returns when the pipe has no writer left: no rank lives
}

TEST_CASE("a killed rank's files in /tmp are removed") {
  Launched run({"leave_files", "barrier"});
  const std::string file = "/tmp/.java_pid" + std::to_string(run.rank(0));
  REQUIRE(std::filesystem::exists(file));
  ::kill(run.rank(0), SIGKILL);
  CHECK(run.wait() == 5);
  CHECK_FALSE(std::filesystem::exists(file));
}

TEST_CASE("while the ranks live their table names them") {
  Launched run({"train", "train"});
  // The table is written after the ranks are started, maybe after they say so.
  std::optional<ProcessTable> table;
  for (const auto end = Clock::now() + 10s; !table && Clock::now() < end;)
    table = ProcessTable::read(run.folder());
  REQUIRE(table);
  CHECK(table->launcher.pid == run.pid());
  CHECK(table->launcher.is_alive());
  REQUIRE(table->ranks.size() == 2);
  CHECK(table->ranks[0].pid == run.rank(0));
  CHECK(table->ranks[1].is_alive());
  ::kill(run.pid(), SIGTERM);
  run.wait();
  CHECK_FALSE(table->ranks[1].is_alive());
}

TEST_CASE("a worker that cannot be started is a missing dependency") {
  LaunchPlan plan;
  plan.worker = "/nonexistent/creel-worker";
  plan.run_dir = std::filesystem::temp_directory_path();
  try {
    run_ranks(plan);
    FAIL("started");
  } catch (const creel::Error& e) {
    CHECK(creel::exit_code(e.code()) == 3);
    const std::string what = e.what();
    CAPTURE(what);
    CHECK(what.find("cannot start /nonexistent/creel-worker") != std::string::npos);
    CHECK(what.find("No such file or directory") != std::string::npos);
  }
  ::setenv("CREEL_WORKER", "/nonexistent/worker", 1);
  CHECK_THROWS_AS(find_worker(), creel::Error);
  ::setenv("CREEL_WORKER", WORKER_PROGRAM, 1);
  CHECK(find_worker() == WORKER_PROGRAM);
  ::unsetenv("CREEL_WORKER");
}
