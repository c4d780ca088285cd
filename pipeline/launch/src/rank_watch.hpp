#pragma once

#include "signal_relay.hpp"

#include <creel/comm/world.hpp>
#include <creel/pipeline/launch/launcher.hpp>
#include <creel/runtime/deadline.hpp>
#include <creel/runtime/process.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace creel::pipeline::detail {

/// Watches the ranks of a run until all have ended, and ends it when one is lost.
///
///     running ──a rank fails──▶ settling ──others wait, or 0.5 s──▶ leaving ──grace──▶ killed
///        └──SIGINT, SIGTERM──▶ running, asked to stop ──a second signal──▶ killed
class RankWatch {
 public:
  RankWatch(const LaunchPlan& plan, comm::World& world, SignalRelay& signals,
            const std::vector<Process>& ranks);

  LaunchResult watch();

 private:
  enum class Phase { Running, Settling, Leaving, Killed };
  struct Rank {
    Process process;
    bool runs = true;  // its end has not been taken note of
  };

  void wait_for_event();
  void take_signals();
  void take_exits();
  void advance();
  void rank_ended(int rank, const ExitStatus& status);
  bool anyone_runs() const;
  bool others_wait() const;
  void give_up();
  void kill_all();
  std::string others_text() const;
  LaunchResult result() const;

  const LaunchPlan& plan_;
  comm::World& world_;
  SignalRelay& signals_;
  std::vector<Rank> ranks_;
  std::shared_ptr<const UniqueFd> ended_;  // an eventfd: a rank has ended since it was read
  Phase phase_ = Phase::Running;
  Deadline phase_end_;
  int stop_signal_ = 0;
  Deadline same_signal_;     // until then a repeated signal is the same request
  bool stopped_ = false;     // a rank left because it was asked to
  std::optional<int> lost_;  // the first rank that failed
  std::string reason_;       // `was killed by signal 9 (SIGKILL)`
  std::string others_;       // what the others were doing then
  std::string stragglers_;
  int own_code_ = 0;  // the first exit code that a rank chose itself
};

}  // namespace creel::pipeline::detail
