#pragma once

#include <grp.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>

namespace creel_test {

/// What a test expects of a process of its own; what does not hold goes to the parent.
class Expectations {
 public:
  void operator()(bool holds, const std::string& what) {
    if (!holds) failures_ += what + "; ";
  }
  const std::string& failures() const noexcept { return failures_; }

 private:
  std::string failures_;
};

/// Runs `body` in a forked process, where it may change user, folder, mask and standard error. Gives what it
/// expected in vain or what it threw; empty if all is well.
inline std::string run_in_child(const std::function<void(Expectations&)>& body) {
  int ends[2];
  if (::pipe(ends) != 0) throw std::runtime_error("cannot make a pipe");
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    Expectations expect;
    std::string text;
    try {
      body(expect);
      text = expect.failures();
    } catch (const std::exception& error) {
      text = expect.failures() + "threw " + error.what();
    }
    const bool told = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(told && text.empty() ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char bytes[512];
  for (ssize_t size = 0; (size = ::read(ends[0], bytes, sizeof bytes)) > 0;)
    text.append(bytes, static_cast<std::size_t>(size));
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return text.empty() && status != 0 ? "it ended with status " + std::to_string(status) : text;
}

/// Makes the process, which must have one thread, that of the user and group `id`: as root by setuid(), which
/// also gives up every privilege; otherwise by a user namespace in which we have that number. False if
/// neither is allowed here.
inline bool become_user(unsigned id) {
  if (::geteuid() == 0) {
    return ::setgroups(0, nullptr) == 0 && ::setresgid(id, id, id) == 0 && ::setresuid(id, id, id) == 0;
  }
  const std::string outside_user = std::to_string(::geteuid()), outside_group = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER) != 0) return false;
  const auto write = [](const char* path, const std::string& text) {
    std::ofstream file(path);
    return static_cast<bool>(file << text << std::flush);
  };
  const std::string inside = std::to_string(id) + " ";
  return write("/proc/self/setgroups", "deny") && write("/proc/self/uid_map", inside + outside_user + " 1") &&
         write("/proc/self/gid_map", inside + outside_group + " 1");
}

}  // namespace creel_test
