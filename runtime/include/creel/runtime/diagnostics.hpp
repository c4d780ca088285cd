#pragma once

#include <memory>
#include <string>
#include <vector>

namespace creel {

struct DiagnosticsOptions {
  std::string name = {};                    ///< as jps shows it; empty: the executable's file name
  std::vector<std::string> arguments = {};  ///< shown behind the name
  bool attach = true;                       ///< answer jstack, jcmd and `creel dump`
  bool perf_data = true;                    ///< be listed by jps, jcmd and `creel ps`
  bool sigquit = true;                      ///< print a thread dump on stderr at SIGQUIT (kill -3, Ctrl-\)
  /// Tell a stack overflow by the thread's name and frames before SIGSEGV ends the process.
  bool stack_overflow = true;
  int sample_signal = 0;  ///< real-time signal that reads running threads' stacks; 0: a free one
};

/// Makes the process readable from outside, as a JVM is: jps lists it, jstack and jcmd Thread.print show its
/// threads, SIGQUIT prints them.
///
///     int main(int argc, char** argv) {
///       creel::Diagnostics diagnostics{{.name = "indexer", .arguments = {argv + 1, argv + argc}}};
///
/// Installs nothing before it is made and gives back all it took when it is destroyed: signal handlers
/// (SIGQUIT, SIGSEGV and SIGBUS, one real-time signal), a socket /tmp/.java_pidPID (mode 0600; peers of other
/// users are turned away), a file /tmp/hsperfdata_USER/PID, and two daemon threads. The files also go at
/// exit(); after a kill see remove_leftovers(). Where /tmp refuses a file, a warning is logged and the rest
/// works. The main thread gets the name "main" if it makes the object.
///
/// One at a time: a second throws Error. A child made by fork() has none and must make its own.
class Diagnostics {
 public:
  explicit Diagnostics(DiagnosticsOptions options = {});
  ~Diagnostics();
  Diagnostics(const Diagnostics&) = delete;
  Diagnostics& operator=(const Diagnostics&) = delete;

  class State;

 private:
  std::unique_ptr<State> state_;
};

}  // namespace creel
