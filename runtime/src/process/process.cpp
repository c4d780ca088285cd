#include "../io_loop.hpp"
#include "process_files.hpp"
#include "process_state.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/process.hpp>
#include <creel/runtime/thread.hpp>

#include <fcntl.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace creel {
namespace {

ExitStatus status_of(const siginfo_t& ended) noexcept {
  if (ended.si_code == CLD_EXITED) return {.code = ended.si_status};
  return {
      .code = 128 + ended.si_status, .signal = ended.si_status, .dumped_core = ended.si_code == CLD_DUMPED};
}

}  // namespace

std::string to_string(const ExitStatus& status) {
  if (status.signal == 0) return "exit code " + std::to_string(status.code);
  const char* name = ::sigabbrev_np(status.signal);
  std::string text = "killed by ";
  text += name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(status.signal);
  return status.dumped_core ? text + ", core dumped" : text;
}

void Process::State::watch(const std::shared_ptr<State>& state) {
  int error = 0;
  if (const int pidfd = detail::open_pidfd(state->pid); pidfd >= 0) {
    state->pidfd.reset(pidfd);
    const auto stat = detail::read_process_stat(state->pid);
    state->start_ticks = stat ? stat->start_ticks : 0;
    UniqueFd watched(::fcntl(pidfd, F_DUPFD_CLOEXEC, 0));
    error = watched ? 0 : errno;
    if (watched) {
      try {
        const int number = watched.get();
        detail::IoLoop::instance().watch_until_done(std::move(watched),
                                                    [state, number] { return reap(state, number); });
        return;
      } catch (const IoError& failed) {
        error = failed.error_number();
      }
    }
  } else {
    error = -pidfd;
  }
  ::kill(state->pid, SIGKILL);  // still ours: nobody has waited for it
  siginfo_t ended{};
  while (::waitid(P_PID, static_cast<id_t>(state->pid), &ended, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  state->run_at_end();
  while (::waitpid(state->pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  throw IoError("cannot watch a process", state->name, error);
}

void Process::State::run_at_end() noexcept {
  const auto action = std::exchange(at_end, nullptr);
  if (!action) return;
  try {
    action({pid, start_ticks});
  } catch (const std::exception& failed) {
    log::error("process.at_end_failed", {{"process", name}, {"what", failed.what()}});
  } catch (...) {
    log::error("process.at_end_failed", {{"process", name}});
  }
}

bool Process::State::take_status(int its_pidfd) noexcept {
  siginfo_t info{};
  // While it has not been waited for, nobody else gets its number.
  const int leave = at_end ? WNOWAIT : 0;
  int result = 0;
  do {
    result = ::waitid(P_PIDFD, static_cast<id_t>(its_pidfd), &info, WEXITED | WNOHANG | leave);
  } while (result != 0 && errno == EINTR);
  if (result == 0 && info.si_pid == 0) return false;
  status_lost = result != 0;
  if (status_lost) return true;
  status = status_of(info);
  if (leave == 0) return true;
  run_at_end();
  ::waitid(P_PIDFD, static_cast<id_t>(its_pidfd), &info, WEXITED | WNOHANG);
  return true;
}

bool Process::State::reap(const std::shared_ptr<State>& state, int its_pidfd) {
  if (!state->take_status(its_pidfd)) return false;
  std::vector<CompletableFuture<ExitStatus>> waiting;
  state->waiters.change_and_wake_all([&] { state->ended.store(true, std::memory_order_release); });
  {
    const std::lock_guard guard{state->lock};
    state->pidfd.reset();
    waiting.swap(state->futures);
  }
  if (waiting.empty()) return true;
  // What is chained to them may block, which this thread may not.
  Thread::of_virtual().name("process-exit").start([state, waiting = std::move(waiting)] {
    for (const CompletableFuture<ExitStatus>& future : waiting) state->complete(future);
  });
  return true;
}

void Process::State::complete(const CompletableFuture<ExitStatus>& future) const {
  if (status_lost) {
    future.complete_exceptionally(lost());
  } else {
    future.complete(status);
  }
}

void Process::State::send_signal(int signal) noexcept {
  const std::lock_guard guard{lock};
  if (pidfd) detail::send_signal_to(pidfd.get(), signal);
}

std::exception_ptr Process::State::lost() const {
  return std::make_exception_ptr(IoError("somebody else waited for", name, ECHILD));
}

pid_t Process::pid() const noexcept { return state_->pid; }
ProcessHandle Process::to_handle() const noexcept { return {state_->pid, state_->start_ticks}; }
FdStream& Process::standard_input() const noexcept { return state_->input; }
FdStream& Process::standard_output() const noexcept { return state_->output; }
FdStream& Process::standard_error() const noexcept { return state_->error; }

std::optional<ExitStatus> Process::wait_for(Deadline deadline) const {
  State& its = *state_;
  const auto has_ended = [&] { return its.ended.load(std::memory_order_acquire); };
  if (!has_ended()) {
    const Blocker blocker{.object = &its, .type = "creel::Process", .name = its.name.c_str()};
    switch (its.waiters.await(blocker, deadline, detail::Interruptible::Yes, detail::WaitQueue::Order::Any,
                              has_ended)) {
      case detail::WaitOutcome::TimedOut:
        return std::nullopt;
      case detail::WaitOutcome::Interrupted:
        throw InterruptedError("interrupted while waiting for the end of " + its.name);
      case detail::WaitOutcome::Met:
        break;
    }
  }
  if (its.status_lost) std::rethrow_exception(its.lost());
  return its.status;
}

ExitStatus Process::wait_for() const { return *wait_for(Deadline::never()); }

std::optional<ExitStatus> Process::exit_status() const {
  if (is_alive()) return std::nullopt;
  if (state_->status_lost) std::rethrow_exception(state_->lost());
  return state_->status;
}

bool Process::is_alive() const noexcept { return !state_->ended.load(std::memory_order_acquire); }

CompletableFuture<ExitStatus> Process::on_exit() const {
  CompletableFuture<ExitStatus> future;
  {
    const std::lock_guard guard{state_->lock};
    // Under the lock: reap() either finds this future, or has said before that the process has ended.
    if (is_alive()) {
      state_->futures.push_back(future);
      return future;
    }
  }
  state_->complete(future);
  return future;
}

void Process::destroy() const noexcept { send_signal(SIGTERM); }
void Process::destroy_forcibly() const noexcept { send_signal(SIGKILL); }
void Process::send_signal(int signal) const noexcept { state_->send_signal(signal); }

}  // namespace creel
