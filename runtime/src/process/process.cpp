#include "../io_loop.hpp"
#include "process_files.hpp"
#include "process_state.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/process.hpp>

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
                                                    [state, number] { return state->reap(number); });
        return;
      } catch (const IoError& failed) {
        error = failed.error_number();
      }
    }
  } else {
    error = -pidfd;
  }
  ::kill(state->pid, SIGKILL);  // still ours: nobody has waited for it
  while (::waitpid(state->pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  throw IoError("cannot watch a process", state->name, error);
}

bool Process::State::reap(int its_pidfd) {
  siginfo_t info{};
  const int result = ::waitid(P_PIDFD, static_cast<id_t>(its_pidfd), &info, WEXITED | WNOHANG);
  if (result != 0 && errno == EINTR) return reap(its_pidfd);
  if (result == 0 && info.si_pid == 0) return false;
  status_lost = result != 0;
  if (!status_lost) status = status_of(info);
  std::vector<Promise<ExitStatus>> waiting;
  waiters.change_and_wake_all([this] { ended.store(true, std::memory_order_release); });
  {
    const std::lock_guard guard{lock};
    pidfd.reset();
    waiting.swap(promises);
  }
  for (Promise<ExitStatus>& promise : waiting) {
    if (status_lost) {
      promise.set_exception(std::make_exception_ptr(IoError("somebody else waited for", name, ECHILD)));
    } else {
      promise.set_value(status);
    }
  }
  return true;
}

void Process::State::send_signal(int signal) noexcept {
  const std::lock_guard guard{lock};
  if (pidfd) detail::send_signal_to(pidfd.get(), signal);
}

void Process::State::throw_lost() const { throw IoError("somebody else waited for", name, ECHILD); }

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
  if (its.status_lost) its.throw_lost();
  return its.status;
}

ExitStatus Process::wait_for() const { return *wait_for(Deadline::never()); }

std::optional<ExitStatus> Process::exit_status() const {
  if (is_alive()) return std::nullopt;
  if (state_->status_lost) state_->throw_lost();
  return state_->status;
}

bool Process::is_alive() const noexcept { return !state_->ended.load(std::memory_order_acquire); }

Future<ExitStatus> Process::on_exit() const {
  Promise<ExitStatus> promise;
  Future<ExitStatus> future = promise.future();
  {
    const std::lock_guard guard{state_->lock};
    // Under the lock: reap() either finds this promise, or has said before that the process has ended.
    if (is_alive()) {
      state_->promises.push_back(std::move(promise));
      return future;
    }
  }
  if (state_->status_lost) {
    promise.set_exception(std::make_exception_ptr(IoError("somebody else waited for", state_->name, ECHILD)));
  } else {
    promise.set_value(state_->status);
  }
  return future;
}

void Process::destroy() const noexcept { send_signal(SIGTERM); }
void Process::destroy_forcibly() const noexcept { send_signal(SIGKILL); }
void Process::send_signal(int signal) const noexcept { state_->send_signal(signal); }

}  // namespace creel
