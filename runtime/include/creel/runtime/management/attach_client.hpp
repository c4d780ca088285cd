#pragma once

#include <creel/runtime/deadline.hpp>

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

// The other side of Diagnostics: what jstack, jcmd and jps do, without a JDK. Works on JVMs as well.

namespace creel {

/// Asks a running process for a diagnostic: jstack is `attach_execute(pid, "threaddump", {"-l"})`, jcmd's
/// commands are `attach_execute(pid, "jcmd", {"Thread.print -l"})`. At most three arguments. Returns the text
/// of the reply.
///
/// Throws Error with code Missing if there is no such process or nothing in it that answers, Timeout if it
/// does not in time, Failed with the target's message if it refuses, and IoError; each says what to do.
std::string attach_execute(pid_t pid, std::string_view command,
                           const std::vector<std::string>& arguments = {},
                           Deadline deadline = std::chrono::seconds(10));

/// A process that has published itself as jps lists it.
struct PublishedProcess {
  pid_t pid = 0;
  std::string command;  ///< name and arguments
  std::string user;
  bool alive = false;  ///< false: it was killed and its file is left over
};

/// The processes with Diagnostics, and JVMs, that the caller may see: its own, or all if it is root. Ordered
/// by pid.
std::vector<PublishedProcess> list_processes();

/// The numbers that a process publishes, by name: `java.threads.live`, `creel.…`; jcmd's PerfCounter.print.
/// Does not ask the process, and works while that is stopped. Empty if it publishes none that the caller may
/// see.
std::map<std::string, std::int64_t> read_counters(pid_t pid);

/// Removes what a process that was killed left in /tmp for attaching and for jps: only files of this user,
/// never through a symbolic link. Does nothing if it is alive. A parent calls it best before it waits for the
/// dead child: as long as the number is taken, no new process can have files of that name.
void remove_leftovers(pid_t pid) noexcept;

}  // namespace creel
