#include "rank_watch.hpp"
#include "signal_relay.hpp"

#include <creel/comm/world.hpp>
#include <creel/pipeline/launch/launcher.hpp>
#include <creel/pipeline/launch/process_table.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/management/attach_client.hpp>
#include <creel/runtime/process_builder.hpp>
#include <creel/runtime/thread.hpp>

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

namespace creel::pipeline {
namespace {

/// RUN_DIR/processes.json while the ranks live.
class PublishedProcesses {
 public:
  PublishedProcesses(const std::filesystem::path& run_dir, const std::vector<Process>& ranks)
      : run_dir_(run_dir) {
    ProcessTable table;
    table.launcher = ProcessIdentity::of(::getpid()).value_or(ProcessIdentity{::getpid()});
    // A rank that is gone already has no start time; it keeps its place, so that the others keep their
    // numbers.
    for (const auto& rank : ranks) {
      table.ranks.push_back(ProcessIdentity::of(rank.pid()).value_or(ProcessIdentity{rank.pid()}));
    }
    table.write(run_dir_);
  }
  ~PublishedProcesses() { ProcessTable::remove(run_dir_); }
  PublishedProcesses(const PublishedProcesses&) = delete;
  PublishedProcesses& operator=(const PublishedProcesses&) = delete;

 private:
  std::filesystem::path run_dir_;
};

/// The started ranks; at the end of its life all are gone.
class Ranks {
 public:
  // Delegates, so that the ranks that run end if another one cannot be started.
  Ranks(const LaunchPlan& plan, int world_fd) : Ranks() {
    for (int rank = 0; rank < plan.ranks; ++rank) processes_.push_back(start(plan, rank, world_fd));
  }
  ~Ranks() {
    for (const Process& rank : processes_) rank.destroy_forcibly();
    for (const Process& rank : processes_) rank.on_exit().handle([](auto&&...) {}).join();
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  const std::vector<Process>& processes() const noexcept { return processes_; }

 private:
  Ranks() = default;

  static Process start(const LaunchPlan& plan, int rank, int world_fd) {
    std::vector<std::string> command{std::filesystem::absolute(plan.worker).string()};
    command.insert(command.end(), plan.arguments.begin(), plan.arguments.end());
    for (const auto& [option, value] :
         {std::pair{"--rank", rank}, {"--ranks", plan.ranks}, {"--world-fd", world_fd}}) {
      command.insert(command.end(), {option, std::to_string(value)});
    }
    ProcessBuilder builder(std::move(command));
    builder.inherit_io().inherit_descriptor(world_fd).death_signal(SIGKILL);
    builder.at_end([](const ProcessHandle& ended) { remove_leftovers(ended.pid()); });
    try {
      return builder.start();
    } catch (const IoError& failed) {
      const int error = failed.error_number();
      if (error != ENOENT && error != ENOTDIR && error != EACCES && error != ENOEXEC) throw;
      throw Error(failed.what(), ErrorCode::Missing);
    }
  }

  std::vector<Process> processes_;
};

}  // namespace

LaunchResult run_ranks(const LaunchPlan& plan) {
  const Activity activity("watching " + std::to_string(plan.ranks) + " ranks of " + plan.run_dir.string());
  comm::World world = comm::World::create(plan.ranks);
  detail::SignalRelay signals{SIGINT, SIGTERM};
  const Ranks ranks(plan, world.fd());
  const PublishedProcesses published(plan.run_dir, ranks.processes());
  return detail::RankWatch(plan, world, signals, ranks.processes()).watch();
}

std::filesystem::path find_worker() {
  if (const char* named = std::getenv("CREEL_WORKER"); named != nullptr && *named != '\0') {
    if (::access(named, X_OK) == 0) return named;
    throw Error(std::string("CREEL_WORKER names ") + named + ", which is no program that can be run",
                ErrorCode::Missing);
  }
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path worker = self.parent_path() / "creel-worker";
  if (!error && ::access(worker.c_str(), X_OK) == 0) return worker;
  throw Error("creel-worker is not beside " + self.string() +
                  "; build or install it too (it needs LibTorch), or name it in CREEL_WORKER",
              ErrorCode::Missing);
}

}  // namespace creel::pipeline
