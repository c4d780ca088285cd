#pragma once

#include "sanitizer.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <string>
#include <utility>

namespace creel_test {

/// ThreadSanitizer supports no threads in the child of a threaded process.
inline constexpr bool kForks = !kThreadSanitizer;

/// A SharedSegment's name of this process's own, taken away at the end.
struct SegmentName {
  std::string text = "test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
  std::string path = "/dev/shm/creel-" + std::to_string(::geteuid()) + "-" + text;
  ~SegmentName() { ::unlink(path.c_str()); }
  static inline int count = 0;
};

/// Until somebody kills this process.
[[noreturn]] inline void stay() {
  for (;;) ::pause();
}

/// A child that runs `body`; killed with this object, if not before, and with the test.
class TestProcess {
 public:
  template <typename Body>
  explicit TestProcess(const Body& body) {
    std::fflush(nullptr);  // else the child would print what stands in its copy of the buffers once more
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int code = 2;
    try {
      if (::getppid() == parent) {
        body();
        code = 0;
      }
    } catch (const std::exception& error) {
      std::fprintf(stderr, "test process: %s\n", error.what());
    }
    ::_exit(code);
  }
  TestProcess(TestProcess&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  TestProcess& operator=(TestProcess&& other) noexcept {
    kill();
    pid_ = std::exchange(other.pid_, 0);
    reaped_ = std::exchange(other.reaped_, false);
    return *this;
  }
  ~TestProcess() { kill(); }

  pid_t pid() const noexcept { return pid_; }
  void stop() const {
    ::kill(pid_, SIGSTOP);
    int status = 0;
    ::waitpid(pid_, &status, WUNTRACED);
  }
  void kill() noexcept {
    if (pid_ == 0 || reaped_) return;
    ::kill(pid_, SIGKILL);
    wait();
  }
  /// Waits until it has ended: by itself, and well.
  bool succeeded() noexcept {
    const int status = wait();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  int wait() noexcept {
    int status = -1;
    ::waitpid(pid_, &status, 0);
    reaped_ = true;
    return status;
  }

  pid_t pid_ = 0;
  bool reaped_ = false;
};

}  // namespace creel_test
