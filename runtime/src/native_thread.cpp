#include "native_thread.hpp"

#include "stack_overflow.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <new>

namespace creel::detail {
namespace {

struct AtEnd {
  std::shared_ptr<ThreadRecord> record;
  void (*ended)(ThreadRecord&);
  AlternateStack alternate_stack{};
};

// A pthread key, not a thread_local: its destructors run after those of all thread_locals, so that these may
// still use locks, and a later key's destructor that does adopts the thread anew.
pthread_key_t end_key() noexcept {
  static const pthread_key_t key = [] {
    pthread_key_t made{};
    ::pthread_key_create(&made, [](void* value) {
      const std::unique_ptr<AtEnd> at_end{static_cast<AtEnd*>(value)};
      at_end->ended(*at_end->record);
    });
    return made;
  }();
  return key;
}

std::string read_limit(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char text[32] = {};
  const ssize_t got = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  std::string limit(text, got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!limit.empty() && limit.back() == '\n') limit.pop_back();
  return limit;
}

}  // namespace

StackBounds current_stack_bounds() noexcept {
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) != 0) return {};
  void* low = nullptr;
  std::size_t size = 0;
  ::pthread_attr_getstack(&attributes, &low, &size);
  ::pthread_attr_destroy(&attributes);
  const auto base = reinterpret_cast<std::uintptr_t>(low);
  return {base, base + size};
}

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

std::int64_t coarse_monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

int start_native_thread(std::size_t stack_size, void* (*entry)(void*), void* argument) noexcept {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  if (stack_size != 0) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const auto least = static_cast<std::size_t>(::sysconf(_SC_THREAD_STACK_MIN));
    ::pthread_attr_setstacksize(&attributes, (std::max(stack_size, least) + page - 1) / page * page);
  }
  pthread_t thread{};
  const int error = ::pthread_create(&thread, &attributes, entry, argument);
  ::pthread_attr_destroy(&attributes);
  return error;
}

void end_with_thread(std::shared_ptr<ThreadRecord> record, void (*ended)(ThreadRecord&)) noexcept {
  ::pthread_setspecific(end_key(), new AtEnd{std::move(record), ended});
}

void set_kernel_name(pid_t tid, const std::string& name) noexcept {
  constexpr std::size_t kLimit = 15;
  char text[kLimit + 1] = {};
  if (name.size() <= kLimit) {
    std::memcpy(text, name.data(), name.size());
  } else {
    std::snprintf(text, sizeof text, "%.7s..%s", name.c_str(), name.c_str() + name.size() - 6);
  }
  if (tid == ::gettid()) {
    ::prctl(PR_SET_NAME, text);
    return;
  }
  char path[48];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;  // it has just ended
  [[maybe_unused]] const ssize_t ignored = ::write(fd, text, std::strlen(text));
  ::close(fd);
}

void set_kernel_priority(pid_t tid, int priority) noexcept {
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(tid), 5 - priority);
}

std::string describe_thread_limits(int error_number) {
  std::string text = std::strerror(error_number);
  rlimit processes{};
  ::getrlimit(RLIMIT_NPROC, &processes);
  text += "; limits: RLIMIT_NPROC ";
  text += processes.rlim_cur == RLIM_INFINITY ? "none" : std::to_string(processes.rlim_cur);
  text += ", kernel.threads-max " + read_limit("/proc/sys/kernel/threads-max");
  if (const std::string pids = read_limit("/sys/fs/cgroup/pids.max"); !pids.empty())
    text += ", pids.max " + pids;
  return text + ", and memory for its stack";
}

}  // namespace creel::detail
