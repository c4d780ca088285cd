#include "foreign_threads.hpp"

#include <creel/runtime/unique_fd.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace creel::detail {
namespace {

std::string read_task_file(pid_t tid, const char* name) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/task/%d/%s", tid, name);
  const UniqueFd fd(::open(path.data(), O_RDONLY | O_CLOEXEC));
  std::array<char, 1024> text;
  const ssize_t size = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

}  // namespace

bool read_task_stat(pid_t tid, TaskStat& stat) {
  const std::string text = read_task_file(tid, "stat");
  const std::size_t open = text.find('('), close = text.rfind(')');  // the name itself may hold either
  if (open == std::string::npos || close == std::string::npos || close + 2 >= text.size()) return false;
  stat.name = text.substr(open + 1, close - open - 1);
  const char* at = text.c_str() + close + 2;
  stat.state = *at;
  char* end = nullptr;
  for (int field = 3; field <= 22 && *at != '\0'; ++field) {  // numbered as in proc(5)
    if (field == 19) stat.nice = static_cast<int>(std::strtol(at, &end, 10));
    if (field == 22) stat.start_ticks = std::strtoull(at, &end, 10);
    while (*at != '\0' && *at != ' ') ++at;
    if (*at == ' ') ++at;
  }
  return true;
}

BlockedCall read_blocked_call(pid_t tid) {
  const std::string text = read_task_file(tid, "syscall");
  BlockedCall call;
  long number = -1;
  unsigned long long first = 0, second = 0;
  if (std::sscanf(text.c_str(), "%ld 0x%llx 0x%llx", &number, &first, &second) >= 1) {
    call.blocked = true;
    call.number = number;
    call.first = first;
    call.second = second;
  }
  return call;
}

pid_t mutex_owner(const BlockedCall& call) {
  constexpr std::uint64_t kCommand = 127;  // without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
  if (!call.blocked || call.number != SYS_futex || (call.second & kCommand) != FUTEX_WAIT) return 0;
  pthread_mutex_t mutex;
  if (!safe_read(reinterpret_cast<const void*>(call.first), &mutex, sizeof mutex)) return 0;
  constexpr int kContended = 2;  // glibc's word of a lock that somebody waits for
  if (mutex.__data.__lock != kContended || mutex.__data.__nusers == 0) return 0;
  const pid_t owner = mutex.__data.__owner;
  // Any futex word may look so by chance; the tid of a living thread of ours beside it is hardly chance.
  return owner > 0 && ::syscall(SYS_tgkill, ::getpid(), owner, 0) == 0 ? owner : 0;
}

std::vector<ForeignThreads::Thread> ForeignThreads::list(const std::vector<pid_t>& known) {
  std::vector<Thread> threads;
  // The folder has a link for each thread: mostly there is nothing to list, and no need to read it.
  struct stat folder {};
  if (::stat("/proc/self/task", &folder) == 0 && folder.st_nlink == known.size() + 2) {
    ids_.clear();
    return threads;
  }
  for (auto& [tid, entry] : ids_) entry.seen = false;
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir("/proc/self/task"), &::closedir);
  for (const dirent* task = nullptr; tasks != nullptr && (task = ::readdir(tasks.get())) != nullptr;) {
    const pid_t tid = static_cast<pid_t>(std::atoi(task->d_name));
    if (tid <= 0 || std::binary_search(known.begin(), known.end(), tid)) continue;
    Thread thread;
    thread.tid = tid;
    if (!read_task_stat(tid, thread.stat) || thread.stat.state == 'Z' || thread.stat.state == 'X') continue;
    Entry& entry = ids_[tid];
    if (entry.id == 0 || entry.start_ticks != thread.stat.start_ticks) {
      entry.id = ThreadRecord(false).id;  // the next number, never used twice
      entry.start_ticks = thread.stat.start_ticks;
    }
    entry.seen = true;
    thread.id = entry.id;
    threads.push_back(std::move(thread));
  }
  std::erase_if(ids_, [](const auto& each) { return !each.second.seen; });
  return threads;
}

}  // namespace creel::detail
