#include "../io/descriptor.hpp"
#include "../io_loop.hpp"
#include "process_files.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/process_handle.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <poll.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <unordered_map>

namespace creel {
namespace {

using detail::ProcessStat;

bool is_readable(int pidfd) noexcept {
  pollfd wait{pidfd, POLLIN, 0};
  return ::poll(&wait, 1, 0) == 1;
}

std::string folder_of(pid_t pid) { return "/proc/" + std::to_string(pid); }

std::string user_of(uid_t uid) {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> buffer;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr) {
    return std::to_string(uid);
  }
  return entry.pw_name;
}

std::optional<std::chrono::system_clock::time_point> machine_start() {
  const auto text = detail::read_kernel_file("/proc/stat");
  const std::size_t line = text ? text->find("\nbtime ") : std::string::npos;
  if (line == std::string::npos) return std::nullopt;
  return std::chrono::system_clock::from_time_t(std::stoll(text->substr(line + 7)));
}

std::chrono::nanoseconds from_ticks(std::uint64_t ticks) {
  static const auto per_second = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  return std::chrono::nanoseconds(ticks * (1'000'000'000 / per_second));
}

void read_arguments(pid_t pid, ProcessInfo& info) {
  const auto text = detail::read_kernel_file(folder_of(pid) + "/cmdline");
  if (!text || text->empty()) return;  // a thread of the kernel's
  std::string line;
  for (std::size_t begin = 0; begin < text->size();) {
    const std::size_t end = std::min(text->find('\0', begin), text->size());
    const std::string argument = text->substr(begin, end - begin);
    if (begin > 0) {
      line += ' ';
      info.arguments.push_back(argument);
    }
    line += argument;
    begin = end + 1;
  }
  info.command_line = std::move(line);
}

/// The pidfd of the process that `handle` means; empty if it has ended. A pidfd names one process for good:
/// once its start is checked, no other can be meant.
UniqueFd open_pidfd(const ProcessHandle& handle) {
  const int pidfd = detail::open_pidfd(handle.pid());
  if (pidfd == -ESRCH || pidfd == -EINVAL) return {};
  if (pidfd < 0) throw IoError("watch process", std::to_string(handle.pid()), -pidfd);
  UniqueFd owned(pidfd);
  return handle.is_alive() ? std::move(owned) : UniqueFd();
}

void refuse_current(const ProcessHandle& handle) {
  if (handle.pid() == ::getpid())
    throw Error("a process cannot wait for its own end: it would wait for ever");
}

}  // namespace

std::optional<ProcessHandle> ProcessHandle::of(pid_t pid) {
  const auto stat = detail::read_process_stat(pid);
  if (pid <= 0 || !stat) return std::nullopt;
  return ProcessHandle(pid, stat->start_ticks);
}

ProcessHandle ProcessHandle::current() {
  const auto self = of(::getpid());
  if (!self) throw IoError("read", folder_of(::getpid()) + "/stat", ENOENT);
  return *self;
}

std::vector<ProcessHandle> ProcessHandle::all_processes() {
  std::vector<ProcessHandle> all;
  for (const pid_t pid : detail::list_processes()) {
    if (const auto handle = of(pid)) all.push_back(*handle);
  }
  return all;
}

std::optional<ProcessHandle> ProcessHandle::parent() const {
  const auto stat = detail::read_process_stat(pid_);
  if (!stat || stat->start_ticks != start_ticks_) return std::nullopt;
  return of(stat->parent);
}

std::vector<ProcessHandle> ProcessHandle::children() const {
  std::vector<ProcessHandle> found;
  for (const pid_t pid : detail::list_processes()) {
    const auto stat = detail::read_process_stat(pid);
    if (stat && stat->parent == pid_) found.push_back(ProcessHandle(pid, stat->start_ticks));
  }
  // Those of another process that has the number by now are not ours.
  const auto own = detail::read_process_stat(pid_);
  if (!own || own->start_ticks != start_ticks_) found.clear();
  return found;
}

std::vector<ProcessHandle> ProcessHandle::descendants() const {
  std::unordered_map<pid_t, std::vector<ProcessHandle>> by_parent;
  for (const pid_t pid : detail::list_processes()) {
    const auto stat = detail::read_process_stat(pid);
    if (stat) by_parent[stat->parent].push_back(ProcessHandle(pid, stat->start_ticks));
  }
  const auto own = detail::read_process_stat(pid_);
  std::vector<ProcessHandle> found;
  if (own && own->start_ticks == start_ticks_) found = by_parent[pid_];
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::vector<ProcessHandle> next = by_parent[found[i].pid_];
    found.insert(found.end(), next.begin(), next.end());
  }
  return found;
}

ProcessInfo ProcessHandle::info() const {
  ProcessInfo info;
  const std::string folder = folder_of(pid_);
  struct stat owner {};
  std::error_code error;
  const auto executable = std::filesystem::read_symlink(folder + "/exe", error);
  if (!error) info.command = executable.string();
  read_arguments(pid_, info);
  if (::stat(folder.c_str(), &owner) == 0) info.user = user_of(owner.st_uid);
  const auto stat = detail::read_process_stat(pid_);  // last: all that was read before was this process's
  if (!stat || stat->start_ticks != start_ticks_) return {};
  info.total_cpu_duration = from_ticks(stat->cpu_ticks);
  if (const auto begin = machine_start()) {
    info.start_instant =
        *begin + std::chrono::duration_cast<std::chrono::system_clock::duration>(from_ticks(start_ticks_));
  }
  return info;
}

bool ProcessHandle::is_alive() const noexcept {
  try {
    const auto stat = detail::read_process_stat(pid_);
    return stat && stat->start_ticks == start_ticks_ && stat->is_alive();
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool ProcessHandle::destroy() const {
  if (pid_ == ::getpid()) throw Error("a process does not destroy itself: use exit() or send_signal()");
  return send_signal(SIGTERM);
}

bool ProcessHandle::destroy_forcibly() const {
  if (pid_ == ::getpid()) throw Error("a process does not destroy itself: use abort() or send_signal()");
  return send_signal(SIGKILL);
}

bool ProcessHandle::send_signal(int signal) const {
  const UniqueFd pidfd = open_pidfd(*this);
  if (!pidfd) return false;
  const int error = -detail::send_signal_to(pidfd.get(), signal);
  if (error != 0 && error != ESRCH) throw IoError("send a signal to process", std::to_string(pid_), error);
  return error == 0;
}

bool ProcessHandle::wait_for(Deadline deadline) const {
  refuse_current(*this);
  UniqueFd pidfd = open_pidfd(*this);
  if (!pidfd) return true;
  const std::string what = "the end of process " + std::to_string(pid_);
  detail::Descriptor descriptor(std::move(pidfd), "creel::ProcessHandle", what);
  const auto outcome = descriptor.when_ready(detail::Ready::Read, what.c_str(), deadline, is_readable);
  if (outcome == detail::ReadyOutcome::Interrupted)
    throw InterruptedError("interrupted while waiting for " + what);
  return outcome == detail::ReadyOutcome::Ready;
}

CompletableFuture<ProcessHandle> ProcessHandle::on_exit() const {
  refuse_current(*this);
  CompletableFuture<ProcessHandle> future;
  UniqueFd pidfd = open_pidfd(*this);
  if (!pidfd) {
    future.complete(*this);
    return future;
  }
  const int number = pidfd.get();
  detail::IoLoop::instance().watch_until_done(std::move(pidfd), [future, number, handle = *this] {
    if (!is_readable(number)) return false;
    // What is chained to it may block, which the loop's thread may not.
    Thread::of_virtual().name("process-exit").start([future, handle] { future.complete(handle); });
    return true;
  });
  return future;
}

}  // namespace creel
