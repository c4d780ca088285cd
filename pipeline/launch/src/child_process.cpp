#include "child_process.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/management/attach_client.hpp>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace creel::pipeline::detail {
namespace {

// The system calls by number: glibc 2.36's <sys/pidfd.h> lacks its extern "C".
int pidfd_open(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
void pidfd_send_signal(int pidfd, int signal) { ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }

// From fork to exec: only calls that are safe in the copy of a process with threads.
[[noreturn]] void become(const char* program, char* const* arguments, int inherited, pid_t parent,
                         int failed) {
  // Our handlers would write to pipes that we share with the parent; exec keeps ignored signals ignored.
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) {
      action = {};
      action.sa_handler = SIG_DFL;
      ::sigaction(signal, &action, nullptr);
    }
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // The parent may have died before prctl: then no signal will come.
  if (::getppid() != parent) ::_exit(127);
  if (inherited >= 0) ::fcntl(inherited, F_SETFD, 0);
  ::execv(program, arguments);
  const int error = errno;
  [[maybe_unused]] const ssize_t written = ::write(failed, &error, sizeof error);
  ::_exit(127);
}

pid_t fork_and_become(const char* program, char* const* arguments, int inherited, int failed) {
  const pid_t parent = ::getpid();
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // no handler of ours runs in the child
  const pid_t pid = ::fork();
  if (pid == 0) become(program, arguments, inherited, parent, failed);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) throw IoError("cannot start another process", program, error);
  return pid;
}

}  // namespace

ChildProcess::ChildProcess(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                           int inherited) {
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw IoError("cannot make a pipe", "", errno);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  pid_ = fork_and_become(program.c_str(), argv.data(), inherited, write_end.get());
  write_end.reset();
  pidfd_.reset(pidfd_open(pid_));
  const int pidfd_error = errno;

  int exec_error = 0;
  ssize_t got = 0;
  while ((got = ::read(read_end.get(), &exec_error, sizeof exec_error)) < 0 && errno == EINTR) {
  }
  if (got == 0 && pidfd_) return;  // exec closed the pipe: it runs
  if (got == 0) ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  if (got == 0)
    throw IoError("cannot watch a process (Linux 5.3 or newer is needed)", program.string(), pidfd_error);
  pidfd_.reset();
  throw Error("cannot start " + program.string() + ": " + IoError("exec", "", exec_error).what(),
              ErrorCode::Missing);
}

ChildProcess::~ChildProcess() {
  if (!running()) return;
  kill(SIGKILL);
  siginfo_t ended{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &ended, WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
  reap();
}

void ChildProcess::kill(int signal) const noexcept {
  if (running()) pidfd_send_signal(pidfd_.get(), signal);
}

std::optional<int> ChildProcess::reap() noexcept {
  if (!running()) return std::nullopt;
  siginfo_t ended{};
  if (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &ended, WEXITED | WNOHANG | WNOWAIT) != 0 ||
      ended.si_pid == 0) {
    return std::nullopt;
  }
  remove_leftovers(pid_);  // while the number is still taken: no new process can have files of that name
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pidfd_.reset();
  return status;
}

}  // namespace creel::pipeline::detail
