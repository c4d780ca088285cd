#pragma once

#include "eventually.hpp"

#include <creel/comm/world.hpp>

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace creel_test {

/// How a rank's process ended.
struct RankOutcome {
  int exit_code = -1;  ///< 0: its body returned; 1: it threw; -1: a signal ended it
  int signal = 0;
  std::string message;  ///< what() of what it threw, or what it returned
  std::chrono::steady_clock::time_point ended;
};

/// The ranks of a world as processes of their own, forked from the test:
///
///     RankProcesses ranks(world, [](creel::comm::World& world, int rank) -> std::string { …; return "ok";
///     }); ranks.kill(1, SIGKILL); for (const RankOutcome& outcome : ranks.wait()) …
///
/// As a launcher would, wait() aborts the world when a rank is killed. Nothing outlives the object, or the
/// test.
class RankProcesses {
 public:
  using Body = std::function<std::string(creel::comm::World&, int rank)>;

  RankProcesses(creel::comm::World& world, const Body& body) : world_(world) {
    for (int rank = 0; rank < world.size(); ++rank) start(rank, body);
  }
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;
  ~RankProcesses() {
    for (Child& child : children_) {
      if (!child.running) continue;
      ::kill(child.pid, SIGKILL);
      ::waitpid(child.pid, nullptr, 0);
      ::close(child.pipe);
    }
  }

  pid_t pid(int rank) const { return children_[static_cast<std::size_t>(rank)].pid; }
  void kill(int rank, int signal_number) { ::kill(pid(rank), signal_number); }

  /// Waits until all have ended; fails the test and kills the rest if they have not within `limit`.
  std::vector<RankOutcome> wait(std::chrono::milliseconds limit = std::chrono::seconds(60)) {
    const bool all_ended = eventually([this] { return reap(); }, limit);
    CHECK_MESSAGE(all_ended, "ranks still run; rank 0 is in: " << world_.status(0).doing);
    if (!all_ended) {
      for (Child& child : children_) {
        if (child.running) ::kill(child.pid, SIGKILL);
      }
      eventually([this] { return reap(); });
    }
    return outcomes_;
  }

 private:
  struct Child {
    pid_t pid = -1;
    int pipe = -1;
    bool running = true;
  };

  void start(int rank, const Body& body) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    // Else the child would print what stands in its copy of the buffers once more.
    std::fflush(nullptr);
    std::cout.flush();
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      ::close(ends[0]);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() == parent) run_child(rank, body, ends[1]);
      ::_exit(2);
    }
    ::close(ends[1]);
    children_.push_back({pid, ends[0]});
    outcomes_.emplace_back();
  }

  // _exit: the test's own static objects are not this process's to destroy.
  [[noreturn]] void run_child(int rank, const Body& body, int out) {
    int code = 0;
    std::string message;
    try {
      message = body(world_, rank);
    } catch (const std::exception& error) {
      code = 1;
      message = error.what();
    }
    message.resize(std::min(message.size(), std::size_t{4000}));  // a pipe takes that much without a reader
    [[maybe_unused]] const ssize_t ignored = ::write(out, message.data(), message.size());
    ::_exit(code);
  }

  bool reap() {
    bool all = true;
    for (std::size_t r = 0; r < children_.size(); ++r) {
      Child& child = children_[r];
      if (!child.running) continue;
      int status = 0;
      if (::waitpid(child.pid, &status, WNOHANG) != child.pid) {
        all = false;
        continue;
      }
      child.running = false;
      RankOutcome& outcome = outcomes_[r];
      outcome.ended = std::chrono::steady_clock::now();
      if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
      if (WIFSIGNALED(status)) {
        outcome.signal = WTERMSIG(status);
        world_.abort(static_cast<int>(r), "killed by signal " + std::to_string(outcome.signal));
      }
      char text[4096];
      const ssize_t length = ::read(child.pipe, text, sizeof(text));
      if (length > 0) outcome.message.assign(text, static_cast<std::size_t>(length));
      ::close(child.pipe);
    }
    return all;
  }

  creel::comm::World& world_;
  std::vector<Child> children_;
  std::vector<RankOutcome> outcomes_;
};

/// Runs `body` in a process per rank and checks that every one returned; gives what they returned, in rank
/// order.
inline std::vector<std::string> run_ranks(creel::comm::World& world, const RankProcesses::Body& body) {
  RankProcesses ranks(world, body);
  std::vector<std::string> results;
  for (RankOutcome& outcome : ranks.wait()) {
    CHECK_MESSAGE(outcome.exit_code == 0, outcome.message << " (signal " << outcome.signal << ")");
    results.push_back(std::move(outcome.message));
  }
  return results;
}

}  // namespace creel_test
