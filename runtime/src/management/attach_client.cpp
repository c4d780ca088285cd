#include "attach_request.hpp"
#include "perf_data.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/management/attach_client.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace creel {
namespace {

using namespace std::chrono_literals;

std::string read_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 8192> text;
  const ssize_t size = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

std::string status_field(const std::string& status, const std::string& key) {
  const std::size_t at = status.find("\n" + key + ":");
  if (at == std::string::npos) return {};
  const std::size_t begin = at + key.size() + 2;
  return status.substr(begin, status.find('\n', begin) - begin);
}

// The target as seen from here and from within: a container has its own /tmp and its own numbers.
class Target {
 public:
  explicit Target(pid_t pid) : pid_(pid), folder_("/proc/" + std::to_string(pid)) {
    if (pid <= 0 || (::kill(pid, 0) != 0 && errno == ESRCH)) {
      throw Error("no process " + std::to_string(pid) + "; `creel ps` lists those that can be asked",
                  ErrorCode::Missing);
    }
    status_ = read_file(folder_ + "/status");
    const std::string numbers = status_field(status_, "NSpid");
    const std::size_t last = numbers.find_last_of(" \t");
    inner_pid_ = last == std::string::npos ? std::to_string(pid) : numbers.substr(last + 1);
    if (inner_pid_ != std::to_string(pid)) tmp_ = folder_ + "/root/tmp";
  }

  std::string name() const {
    std::string comm = read_file(folder_ + "/comm");
    while (!comm.empty() && comm.back() == '\n') comm.pop_back();
    return "process " + std::to_string(pid_) + " (" + comm + ")";
  }
  std::string socket_path() const { return tmp_ + "/.java_pid" + inner_pid_; }

  bool handles_sigquit() const {
    const unsigned long long caught = std::strtoull(status_field(status_, "SigCgt").c_str(), nullptr, 16);
    return (caught >> (SIGQUIT - 1) & 1U) != 0;
  }

  // A process that has no socket yet makes one when it finds this file at SIGQUIT.
  void start_listener(Deadline deadline) const {
    if (!handles_sigquit()) {
      throw Error(name() + " does not answer: it has no creel::Diagnostics and is no JVM",
                  ErrorCode::Missing);
    }
    std::string trigger = folder_ + "/cwd/.attach_pid" + inner_pid_;
    if (!make_trigger(trigger)) {
      trigger = tmp_ + "/.attach_pid" + inner_pid_;
      if (!make_trigger(trigger)) throw IoError("ask " + name() + " to listen", trigger, errno);
    }
    const bool sent = ::kill(pid_, SIGQUIT) == 0;
    const int error = errno;
    struct stat status {};
    while (sent && ::stat(socket_path().c_str(), &status) != 0 && !deadline.expired()) {
      const timespec pause{0, 10'000'000};
      ::nanosleep(&pause, nullptr);
    }
    ::unlink(trigger.c_str());
    if (!sent) throw IoError("send SIGQUIT to " + name() + "; run as its user or as root", "", error);
  }

  // Its effective user, whose the socket must be.
  bool is_its_user(uid_t uid) const {
    const std::string ids = status_field(status_, "Uid");  // real, effective, saved, of the file system
    const std::size_t second = ids.find_first_of("\t ", 1);
    return second != std::string::npos && std::strtoul(ids.c_str() + second, nullptr, 10) == uid;
  }

 private:
  // One that is there already, of a client that was killed, will do if it is ours; nothing else is opened: it
  // may be a link, or a pipe that never opens.
  static bool make_trigger(const std::string& path) {
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file || errno != EEXIST) return static_cast<bool>(file);
    struct stat status {};
    const bool ours =
        ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == ::geteuid();
    errno = EEXIST;
    return ours;
  }

  pid_t pid_;
  std::string folder_;
  std::string status_;
  std::string inner_pid_;
  std::string tmp_ = "/tmp";
};

void check_socket(const std::string& path, const Target& target) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT)
      throw TimeoutError(target.name() + " did not start to listen at " + path + " in time");
    throw IoError("look at the attach socket", path, errno);
  }
  const bool ours = status.st_uid == ::geteuid() || ::geteuid() == 0;
  if (!S_ISSOCK(status.st_mode) || (status.st_mode & 0077) != 0 || !ours ||
      !target.is_its_user(status.st_uid)) {
    throw Error(path + " is not secure: it must be a socket of the user who runs " + target.name() +
                    " and that only he may read and write, and yours unless you are root",
                ErrorCode::Io);
  }
}

UniqueFd connect_to(const std::string& path, const Target& target) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) throw IoError("make a socket", path, errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw Error("attach: the path is too long: " + path, ErrorCode::Io);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED) {
      throw Error(target.name() + " left " + path + " behind but does not listen there; remove it",
                  ErrorCode::Missing);
    }
    throw IoError("connect to " + target.name(), path, errno);
  }
  return fd;
}

template <typename Visit>
void for_each_entry(UniqueFd folder, Visit visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(folder.get()), &::closedir);
  if (entries == nullptr) return;
  const int fd = folder.release();  // closedir closes it
  while (const dirent* entry = ::readdir(entries.get())) visit(fd, std::string_view(entry->d_name));
}

// The folders of processes that this user may look into. A folder of somebody else's is his to fill; a link
// may lead anywhere.
template <typename Visit>
void for_each_perf_folder(Visit visit) {
  constexpr std::string_view kPrefix = "hsperfdata_";
  constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  for_each_entry(UniqueFd(::open("/tmp", kFolder)), [&](int tmp, std::string_view name) {
    if (!name.starts_with(kPrefix)) return;
    UniqueFd folder(::openat(tmp, name.data(), kFolder));
    struct stat status {};
    if (!folder || ::fstat(folder.get(), &status) != 0) return;
    if (::geteuid() != 0 && status.st_uid != ::geteuid()) return;
    visit(std::move(folder), std::string(name.substr(kPrefix.size())));
  });
}

// What another user wrote must not speak to the terminal of who lists it.
std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }, '?');
  return text;
}

pid_t to_pid(std::string_view text) noexcept {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  return error == std::errc{} && end == text.data() + text.size() ? pid : 0;
}

}  // namespace

std::string attach_execute(pid_t pid, std::string_view command, const std::vector<std::string>& arguments,
                           Deadline deadline) {
  const Target target(pid);
  const std::string path = target.socket_path();
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 && errno == ENOENT) target.start_listener(deadline);
  check_socket(path, target);
  const UniqueFd fd = connect_to(path, target);

  std::string request("1\0", 2);
  request.append(command).push_back('\0');
  for (std::size_t i = 0; i < 3; ++i)
    request.append(i < arguments.size() ? arguments[i] : "").push_back('\0');
  if (!detail::write_all(fd.get(), request, -1, deadline)) throw IoError("ask " + target.name(), path, EPIPE);
  std::string reply;
  for (;;) {
    if (!detail::wait_ready(fd.get(), POLLIN, -1, deadline)) {
      throw TimeoutError(target.name() + " did not finish its reply in time");
    }
    std::array<char, 65536> bytes;
    const ssize_t size = ::recv(fd.get(), bytes.data(), bytes.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && reply.empty()) break;
    if (size < 0) throw IoError("read the reply of " + target.name(), path, errno);
    if (size == 0) break;
    reply.append(bytes.data(), static_cast<std::size_t>(size));
  }
  if (reply.empty()) {
    throw Error(target.name() + " turned us away; run as its user or as root", ErrorCode::Io);
  }
  const std::size_t end = reply.find('\n');
  const std::string text = end == std::string::npos ? std::string() : reply.substr(end + 1);
  if (reply.substr(0, end) != "0") throw Error(target.name() + ": " + (text.empty() ? reply : text));
  return text;
}

std::vector<PublishedProcess> list_processes() {
  std::vector<PublishedProcess> processes;
  for_each_perf_folder([&](UniqueFd folder, const std::string& user) {
    for_each_entry(std::move(folder), [&](int fd, std::string_view name) {
      PublishedProcess process;
      process.pid = to_pid(name);
      if (process.pid <= 0) return;
      process.command = printable(detail::read_perf_command(fd, std::string(name)));
      process.user = user;
      process.alive = ::kill(process.pid, 0) == 0 || errno == EPERM;
      processes.push_back(std::move(process));
    });
  });
  std::sort(processes.begin(), processes.end(), [](const auto& a, const auto& b) { return a.pid < b.pid; });
  return processes;
}

std::map<std::string, std::int64_t> read_counters(pid_t pid) {
  std::map<std::string, std::int64_t> counters;
  for_each_perf_folder([&](const UniqueFd& folder, const std::string&) {
    for (const detail::PerfEntry& entry : detail::read_perf_entries(folder.get(), std::to_string(pid))) {
      if (entry.number) counters[entry.name] = *entry.number;
    }
  });
  return counters;
}

namespace {

// Unlinks `name` in the folder if this user owns it; unlink itself follows no link.
void unlink_own(int folder, const std::string& name) {
  struct stat status {};
  if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (status.st_uid == ::geteuid()) ::unlinkat(folder, name.c_str(), 0);
}

}  // namespace

void remove_leftovers(pid_t pid) noexcept {
  constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  try {
    const std::string number = std::to_string(pid);
    const std::string state = status_field(read_file("/proc/" + number + "/status"), "State");
    const bool dead = state.empty() ? ::kill(pid, 0) != 0 && errno == ESRCH : state.starts_with("\tZ");
    if (pid <= 0 || !dead) return;
    if (const UniqueFd tmp(::open("/tmp", kFolder)); tmp) {
      unlink_own(tmp.get(), ".java_pid" + number);
      unlink_own(tmp.get(), ".java_pid" + number + ".tmp");
    }
    const UniqueFd perf_data(::open(detail::perf_folder(::geteuid()).c_str(), kFolder));
    if (perf_data) unlink_own(perf_data.get(), number);
  } catch (...) {  // out of memory: the next process with that pid removes them
  }
}

}  // namespace creel
