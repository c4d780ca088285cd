#include "spawn.hpp"

#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

// The child shares our memory until it execs (vfork): it makes system calls and writes to nothing but its own
// stack. All signals are blocked meanwhile, so that no handler of ours runs in it either.

namespace creel::detail {
namespace {

constexpr unsigned kCloseOnExec = 4;  // CLOSE_RANGE_CLOEXEC, Linux 5.11

struct Report {
  SpawnStep step;
  int error;
};

[[noreturn]] void fail(int report_to, SpawnStep step, int error) {
  const Report report{step, error};
  [[maybe_unused]] const ssize_t written = ::write(report_to, &report, sizeof report);
  ::_exit(127);
}

void check(bool done, int report_to, SpawnStep step) {
  if (!done) fail(report_to, step, errno);
}

void reset_signals() {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0) continue;
    // exec keeps ignored signals ignored, which is as it should be for nohup; but few programs expect that
    // they may write to a broken pipe.
    if (action.sa_handler == SIG_IGN && signal != SIGPIPE) continue;
    action = {};
    action.sa_handler = SIG_DFL;
    ::sigaction(signal, &action, nullptr);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Everything above 2 closes with exec: also what other libraries opened without O_CLOEXEC.
void close_on_exec() {
  if (::syscall(SYS_close_range, 3U, ~0U, kCloseOnExec) == 0) return;
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const int end = static_cast<int>(std::min<rlim_t>(files.rlim_cur, 1 << 20));
  for (int fd = 3; fd < end; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void set_up_descriptors(const SpawnPlan& plan, int report_to) {
  for (int fd = 0; fd < 3; ++fd) {
    const int source = plan.standard[static_cast<std::size_t>(fd)];
    // Ours may be closed: then the child's is, too.
    if (source < 0) {
      ::fcntl(fd, F_SETFD, 0);
    } else {
      check(::dup2(source, fd) == fd, report_to, SpawnStep::Standard);
    }
  }
  close_on_exec();
  for (const int fd : plan.inherited) check(::fcntl(fd, F_SETFD, 0) == 0, report_to, SpawnStep::Inherit);
}

[[noreturn]] void execute(const SpawnPlan& plan, int report_to) {
  int error = ENOENT;
  for (const std::string& candidate : plan.candidates) {
    ::execve(candidate.c_str(), plan.arguments.data(), plan.environment.data());
    // As a shell: what cannot be executed here may be found further on.
    if (errno == EACCES) {
      error = EACCES;
    } else if (errno != ENOENT && errno != ENOTDIR) {
      fail(report_to, SpawnStep::Exec, errno);
    }
  }
  fail(report_to, SpawnStep::Exec, error);
}

[[noreturn]] void become(const SpawnPlan& plan, int report_to, pid_t parent) {
  reset_signals();
  if (plan.new_session) check(::setsid() >= 0, report_to, SpawnStep::Session);
  if (plan.process_group) check(::setpgid(0, *plan.process_group) == 0, report_to, SpawnStep::ProcessGroup);
  if (plan.death_signal != 0) {
    check(::prctl(PR_SET_PDEATHSIG, plan.death_signal) == 0, report_to, SpawnStep::DeathSignal);
    // Our process may have ended before: then no signal will come.
    if (::getppid() != parent) ::_exit(127);
  }
  set_up_descriptors(plan, report_to);
  for (const SpawnPlan::Limit& limit : plan.limits) {
    const auto resource = static_cast<__rlimit_resource_t>(limit.resource);
    check(::setrlimit(resource, &limit.value) == 0, report_to, SpawnStep::Limit);
  }
  if (!plan.directory.empty()) check(::chdir(plan.directory.c_str()) == 0, report_to, SpawnStep::Directory);
  execute(plan, report_to);
}

// A function of its own, with nothing in its frame that the child could spoil.
[[gnu::noinline]] pid_t fork_and_become(const SpawnPlan& plan, int report_to, pid_t parent) {
#if defined(__SANITIZE_THREAD__)
  // Its runtime makes a fork() of vfork(), whose handlers take more locks than it can count.
  const pid_t pid = ::_Fork();
#else
  const pid_t pid = ::vfork();
#endif
  if (pid == 0) become(plan, report_to, parent);
  return pid;
}

}  // namespace

SpawnOutcome spawn(const SpawnPlan& plan) noexcept {
  SpawnOutcome outcome;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    outcome.error = errno;
    return outcome;
  }
  UniqueFd read_end(ends[0]);
  // Above the standard streams' numbers, over which the child puts its own.
  UniqueFd write_end(::fcntl(ends[1], F_DUPFD_CLOEXEC, 3));
  outcome.error = errno;
  ::close(ends[1]);
  if (!write_end) return outcome;

  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  outcome.pid = fork_and_become(plan, write_end.get(), ::getpid());
  outcome.error = outcome.pid < 0 ? errno : 0;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  write_end.reset();
  if (outcome.pid < 0) return outcome;

  Report report{};
  ssize_t got = 0;
  while ((got = ::read(read_end.get(), &report, sizeof report)) < 0 && errno == EINTR) {
  }
  if (got != static_cast<ssize_t>(sizeof report)) return outcome;  // exec closed the pipe: it runs
  while (::waitpid(outcome.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return {-1, report.step, report.error};
}

}  // namespace creel::detail
