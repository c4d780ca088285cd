#include "child_process.hpp"
#include "rank_watch.hpp"
#include "signal_relay.hpp"

#include <creel/comm/world.hpp>
#include <creel/pipeline/launch/launcher.hpp>
#include <creel/pipeline/launch/process_table.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace creel::pipeline {
namespace {

/// RUN_DIR/processes.json while the ranks live.
class PublishedProcesses {
 public:
  PublishedProcesses(const std::filesystem::path& run_dir, const std::vector<detail::ChildProcess>& ranks)
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

std::vector<detail::ChildProcess> start_ranks(const LaunchPlan& plan, int world_fd) {
  std::vector<detail::ChildProcess> ranks;
  ranks.reserve(static_cast<std::size_t>(plan.ranks));
  for (int rank = 0; rank < plan.ranks; ++rank) {
    std::vector<std::string> arguments = plan.arguments;
    for (const auto& [option, value] :
         {std::pair{"--rank", rank}, {"--ranks", plan.ranks}, {"--world-fd", world_fd}}) {
      arguments.insert(arguments.end(), {option, std::to_string(value)});
    }
    ranks.emplace_back(plan.worker, arguments, world_fd);
  }
  return ranks;
}

}  // namespace

LaunchResult run_ranks(const LaunchPlan& plan) {
  const Activity activity("watching " + std::to_string(plan.ranks) + " ranks of " + plan.run_dir.string());
  comm::World world = comm::World::create(plan.ranks);
  detail::SignalRelay signals{SIGINT, SIGTERM};
  std::vector<detail::ChildProcess> ranks = start_ranks(plan, world.fd());
  const PublishedProcesses published(plan.run_dir, ranks);
  return detail::RankWatch(plan, world, signals, std::move(ranks)).watch();
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
