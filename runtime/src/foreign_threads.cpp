#include "foreign_threads.hpp"

#include <creel/runtime/unique_fd.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace creel::detail {
std::string read_task_file(pid_t tid, const char* name) {
  std::array<char, 64> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/task/%d/%s", tid, name);
  const UniqueFd fd(::open(path.data(), O_RDONLY | O_CLOEXEC));
  std::array<char, 4096> text;
  const ssize_t size = fd ? ::read(fd.get(), text.data(), text.size()) : 0;
  return {text.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

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
  std::array<unsigned long long, 4> arguments{};
  unsigned long long stack_pointer = 0, program_counter = 0;
  const int fields = std::sscanf(text.c_str(), "%ld 0x%llx 0x%llx 0x%llx 0x%llx 0x%*x 0x%*x 0x%llx 0x%llx",
                                 &call.number, &arguments[0], &arguments[1], &arguments[2], &arguments[3],
                                 &stack_pointer, &program_counter);
  if (fields >= 1) {
    call.blocked = true;
    call.stack_pointer = stack_pointer;
    call.program_counter = program_counter;
    std::copy(arguments.begin(), arguments.end(), call.arguments.begin());
  }
  return call;
}

std::uint64_t read_switches(pid_t tid) {
  const std::string text = read_task_file(tid, "status");
  std::uint64_t sum = 0;
  for (const std::string_view key : {"\nvoluntary_ctxt_switches:", "\nnonvoluntary_ctxt_switches:"}) {
    const std::size_t at = text.find(key);
    if (at != std::string::npos) sum += std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
  }
  return sum;
}

bool ends_early_by_signal(const BlockedCall& call) noexcept {
  if (!call.blocked) return false;
  switch (call.number) {
    case SYS_futex:
      return call.arguments[3] != 0;  // with a timeout: sem_timedwait()
    case SYS_poll:
    case SYS_ppoll:
    case SYS_select:
    case SYS_pselect6:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigtimedwait:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_msgrcv:
    case SYS_msgsnd:
    case SYS_io_getevents:
    case SYS_io_pgetevents:
      return true;
    default:
      return false;
  }
}

StackCopy copy_blocked_stack(pid_t tid, std::uintptr_t low, std::uintptr_t high, std::uint64_t switches,
                             std::span<std::byte> buffer) noexcept {
  const iovec to{buffer.data(),
                 high > low ? std::min<std::size_t>(high - low, buffer.size()) : buffer.size()};
  const iovec from{reinterpret_cast<void*>(low), to.iov_len};
  const ssize_t copied = ::process_vm_readv(::getpid(), &to, 1, &from, 1, 0);
  if (copied <= 0 || switches == 0 || read_switches(tid) != switches) return {low, nullptr, 0};
  return {low, buffer.data(), static_cast<std::size_t>(copied)};
}

namespace {

// Any futex word may look like a lock by chance; the tid of a living thread of ours beside it is hardly
// chance.
bool is_thread_of_ours(pid_t tid) noexcept {
  return tid > 0 && ::syscall(SYS_tgkill, ::getpid(), tid, 0) == 0;
}

// glibc waits for a plain mutex with FUTEX_WAIT, for one with a deadline with FUTEX_WAIT_BITSET.
ForeignLock find_mutex(std::uintptr_t word) {
  pthread_mutex_t mutex;
  if (!safe_read(reinterpret_cast<const void*>(word), &mutex, sizeof mutex)) return {};
  constexpr int kContended = 2;  // glibc's word of a lock that somebody waits for
  constexpr int kKinds = 3;      // the two low bits: normal, recursive, error checking, adaptive
  if (mutex.__data.__lock != kContended || mutex.__data.__nusers == 0) return {};
  if ((mutex.__data.__kind & 0x7F & ~kKinds) != 0 || !is_thread_of_ours(mutex.__data.__owner)) return {};
  return {mutex.__data.__owner, word, "std::mutex"};
}

// Readers wait for the writer's phase to end, writers for the other writer. Readers are not recorded.
ForeignLock find_read_write_lock(std::uintptr_t word, std::size_t offset) {
  pthread_rwlock_t lock;
  const std::uintptr_t address = word - offset;
  if (!safe_read(reinterpret_cast<const void*>(address), &lock, sizeof lock)) return {};
  constexpr unsigned kPhaseAndLock = 3;  // of __readers: locked for writing, in a writer's phase
  constexpr unsigned kTakenAndUsed = 3;  // of the word: taken, and somebody waits
  const unsigned futex = offset == offsetof(pthread_rwlock_t, __data.__wrphase_futex)
                             ? lock.__data.__wrphase_futex
                             : lock.__data.__writers_futex;
  if ((lock.__data.__readers & kPhaseAndLock) != kPhaseAndLock || futex != kTakenAndUsed) return {};
  if (!is_thread_of_ours(lock.__data.__cur_writer)) return {};
  return {lock.__data.__cur_writer, address, "std::shared_mutex"};
}

ForeignLock find_inheriting_mutex(std::uintptr_t word) {
  std::uint32_t value = 0;
  if (!safe_read(reinterpret_cast<const void*>(word), &value, sizeof value)) return {};
  const auto owner = static_cast<pid_t>(value & FUTEX_TID_MASK);
  return is_thread_of_ours(owner) ? ForeignLock{owner, word, "pthread_mutex_t"} : ForeignLock{};
}

}  // namespace

ForeignLock find_foreign_lock(const BlockedCall& call) {
  if (!call.blocked || call.number != SYS_futex) return {};
  const std::uintptr_t word = call.arguments[0];
  constexpr std::uint64_t kCommand = 127;  // without FUTEX_PRIVATE_FLAG and FUTEX_CLOCK_REALTIME
  constexpr std::uint64_t kLockPi2 = 13;   // FUTEX_LOCK_PI2, which the headers of 2021 do not have
  const std::uint64_t command = call.arguments[1] & kCommand;
  ForeignLock lock;
  if (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) {
    lock = find_mutex(word);
    if (lock.owner == 0) {
      lock = find_read_write_lock(word, offsetof(pthread_rwlock_t, __data.__wrphase_futex));
    }
    if (lock.owner == 0) {
      lock = find_read_write_lock(word, offsetof(pthread_rwlock_t, __data.__writers_futex));
    }
  } else if (command == FUTEX_LOCK_PI || command == kLockPi2) {
    lock = find_inheriting_mutex(word);
  }
  lock.timed = call.arguments[3] != 0;
  return lock;
}

std::vector<pid_t> ForeignThreads::tids(const std::vector<pid_t>& known) {
  std::vector<pid_t> tids;
  // The folder has a link for each thread: mostly there is nothing to list, and no need to read it.
  struct stat folder {};
  if (::stat("/proc/self/task", &folder) == 0 && folder.st_nlink == known.size() + 2) return tids;
  const std::unique_ptr<DIR, int (*)(DIR*)> tasks(::opendir("/proc/self/task"), &::closedir);
  for (const dirent* task = nullptr; tasks != nullptr && (task = ::readdir(tasks.get())) != nullptr;) {
    const pid_t tid = static_cast<pid_t>(std::atoi(task->d_name));
    if (tid > 0 && !std::binary_search(known.begin(), known.end(), tid)) tids.push_back(tid);
  }
  return tids;
}

std::vector<ForeignThreads::Thread> ForeignThreads::identify(const std::vector<pid_t>& tids) {
  std::vector<Thread> threads;
  for (const pid_t tid : tids) {
    Thread thread;
    thread.tid = tid;
    if (!read_task_stat(tid, thread.stat) || thread.stat.state == 'Z' || thread.stat.state == 'X') continue;
    Entry& entry = ids_[tid];
    if (entry.id == 0 || entry.start_ticks != thread.stat.start_ticks) {
      entry.id = next_thread_id();
      entry.start_ticks = thread.stat.start_ticks;
    }
    thread.id = entry.id;
    threads.push_back(std::move(thread));
  }
  return threads;
}

void ForeignThreads::forget_all_but(const std::vector<pid_t>& living) {
  std::erase_if(ids_, [&](const auto& each) {
    return std::find(living.begin(), living.end(), each.first) == living.end();
  });
}

}  // namespace creel::detail
