#include "rank_watch.hpp"

#include <creel/runtime/error.hpp>

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <map>

namespace creel::pipeline::detail {
namespace {

using namespace std::chrono_literals;

// timeout(1) and some supervisors signal the process and then its group, which is one request, not two.
constexpr auto kOneRequest = 200ms;
// How often the ranks' shared state is looked at while they settle; nothing wakes us when it changes.
constexpr auto kLook = 10ms;

constexpr int kRankLost = 5;

std::string signal_text(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return "signal " + std::to_string(signal) + (name != nullptr ? " (SIG" + std::string(name) + ")" : "");
}

std::string exit_text(int code) {
  const char* meaning = nullptr;
  switch (code) {
    case 2:
      meaning = "bad config or usage";
      break;
    case 3:
      meaning = "missing dependency or input";
      break;
    case 4:
      meaning = "bad data";
      break;
    case 5:
      meaning = "lost its peers";
      break;
    case 127:
      meaning = "a library is missing";
      break;
    default:
      break;
  }
  return "failed with exit code " + std::to_string(code) +
         (meaning != nullptr ? " (" + std::string(meaning) + ")" : "");
}

// "all_reduce #41, 1.2 MiB, waiting for rank 1" -> "waiting in all_reduce #41, 1.2 MiB, for rank 1".
std::string doing_text(const std::string& doing) {
  constexpr std::string_view kWaiting = ", waiting for ";
  if (doing.empty()) return "not waiting for a peer";
  const std::size_t at = doing.rfind(kWaiting);
  if (at == std::string::npos) return "in " + doing;
  return "waiting in " + doing.substr(0, at) + ", for " + doing.substr(at + kWaiting.size());
}

std::string ranks_text(const std::vector<int>& ranks) {
  constexpr std::size_t kListed = 8;
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size() && i < kListed; ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  if (ranks.size() > kListed) text += " and " + std::to_string(ranks.size() - kListed) + " more";
  return text;
}

}  // namespace

RankWatch::RankWatch(const LaunchPlan& plan, comm::World& world, SignalRelay& signals,
                     const std::vector<Process>& ranks)
    : plan_(plan),
      world_(world),
      signals_(signals),
      ended_(std::make_shared<const UniqueFd>(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))) {
  if (!*ended_) throw IoError("cannot make an eventfd", "for the ends of ranks", errno);
  for (const Process& rank : ranks) {
    ranks_.push_back({rank});
    rank.on_exit().handle([ended = ended_](auto&&...) { ::eventfd_write(ended->get(), 1); });
  }
}

LaunchResult RankWatch::watch() {
  while (anyone_runs()) {
    wait_for_event();
    take_signals();
    take_exits();
    advance();
  }
  return result();
}

void RankWatch::wait_for_event() {
  std::array<pollfd, 2> fds{{{signals_.fd(), POLLIN, 0}, {ended_->get(), POLLIN, 0}}};
  auto wait = std::chrono::ceil<std::chrono::milliseconds>(
      std::min<Deadline::Clock::duration>(phase_end_.remaining(), 1h));
  if (phase_ == Phase::Settling) wait = std::min<std::chrono::milliseconds>(wait, kLook);
  if (::poll(fds.data(), fds.size(), static_cast<int>(wait.count())) < 0 && errno != EINTR) {
    throw IoError("cannot wait for the ranks", "", errno);
  }
}

void RankWatch::take_signals() {
  while (const std::optional<int> signal = signals_.next()) {
    if (stop_signal_ == 0) {
      stop_signal_ = *signal;
      same_signal_ = kOneRequest;
      world_.request_stop(*signal);
    } else if (*signal != stop_signal_ || same_signal_.expired()) {
      kill_all();
    }
  }
}

void RankWatch::take_exits() {
  eventfd_t ignored = 0;
  ::eventfd_read(ended_->get(), &ignored);  // before the look: an end after it is told of again
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (!ranks_[i].runs) continue;
    const std::optional<ExitStatus> status = ranks_[i].process.exit_status();
    if (!status) continue;
    ranks_[i].runs = false;
    rank_ended(static_cast<int>(i), *status);
  }
}

void RankWatch::rank_ended(int rank, const ExitStatus& status) {
  if (status.success()) return;
  const int code = status.signal == 0 ? status.code : 0;  // that the rank chose itself
  if (code == 128 + SIGINT || code == 128 + SIGTERM) {
    stopped_ = true;
    if (world_.stop_requested() == 0) world_.request_stop(code - 128);  // the signal went to that rank alone
    return;
  }
  if (code != 0 && code != kRankLost && own_code_ == 0) own_code_ = code;
  if (lost_ || phase_ == Phase::Killed) return;
  lost_ = rank;
  reason_ = status.signal != 0 ? "was killed by " + signal_text(status.signal) : exit_text(code);
  phase_ = Phase::Settling;
  phase_end_ = plan_.settle;
}

void RankWatch::advance() {
  if (phase_ == Phase::Settling && (others_wait() || phase_end_.expired())) {
    give_up();
  } else if (phase_ == Phase::Leaving && phase_end_.expired()) {
    std::vector<int> left;
    for (std::size_t i = 0; i < ranks_.size(); ++i) {
      if (ranks_[i].runs) left.push_back(static_cast<int>(i));
    }
    stragglers_ = ranks_text(left) + " did not leave within " + std::to_string(plan_.grace.count()) +
                  " ms and " + (left.size() == 1 ? "was" : "were") + " killed";
    kill_all();
  }
}

bool RankWatch::anyone_runs() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.runs; });
}

bool RankWatch::others_wait() const {
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].runs && world_.status(static_cast<int>(i)).waiting_for < 0) return false;
  }
  return true;
}

void RankWatch::give_up() {
  others_ = others_text();  // before the abort: it wakes them
  world_.abort(*lost_, reason_);
  phase_ = Phase::Leaving;
  phase_end_ = plan_.grace;
}

void RankWatch::kill_all() {
  for (const Rank& rank : ranks_) rank.process.destroy_forcibly();
  phase_ = Phase::Killed;
  phase_end_ = Deadline::never();
}

std::string RankWatch::others_text() const {
  std::map<std::string, std::vector<int>> by_doing;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    if (ranks_[i].runs)
      by_doing[doing_text(world_.status(static_cast<int>(i)).doing)].push_back(static_cast<int>(i));
  }
  std::string text;
  for (const auto& [doing, ranks] : by_doing) {
    text += "; " + ranks_text(ranks) + (ranks.size() == 1 ? " was " : " were ") + doing;
  }
  return text;
}

LaunchResult RankWatch::result() const {
  if (lost_) {
    const pid_t pid = ranks_[static_cast<std::size_t>(*lost_)].process.pid();
    std::string message =
        "rank " + std::to_string(*lost_) + " (pid " + std::to_string(pid) + ") " + reason_ + others_;
    if (!stragglers_.empty()) message += "; " + stragglers_;
    return {own_code_ != 0 ? own_code_ : kRankLost, message};
  }
  const int signal = stop_signal_ != 0 ? stop_signal_ : world_.stop_requested();
  if (phase_ == Phase::Killed)
    return {128 + signal, "killed by a second signal; no checkpoint was written for it"};
  if (stopped_) return {128 + signal, "stopped by " + signal_text(signal)};
  return {};
}

}  // namespace creel::pipeline::detail
