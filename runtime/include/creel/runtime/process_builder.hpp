#pragma once

#include <creel/runtime/process.hpp>

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace creel {

/// Where a standard stream of a new process comes from or goes to; java.lang.ProcessBuilder.Redirect.
class Redirect {
 public:
  /// To a stream of the Process object. The default.
  static Redirect pipe() { return Redirect(Kind::Pipe); }
  /// To where ours goes.
  static Redirect inherit() { return Redirect(Kind::Inherit); }
  /// Output to nowhere; input that has ended.
  static Redirect discard() { return Redirect(Kind::Discard); }
  /// Input from a file.
  static Redirect from(std::filesystem::path file) { return Redirect(Kind::From, std::move(file)); }
  /// Output to a file, made or emptied first.
  static Redirect to(std::filesystem::path file) { return Redirect(Kind::To, std::move(file)); }
  /// Output to a file's end.
  static Redirect append_to(std::filesystem::path file) { return Redirect(Kind::AppendTo, std::move(file)); }
  /// An open descriptor of ours, which stays ours.
  static Redirect descriptor(int fd) { return Redirect(Kind::Descriptor, {}, fd); }

 private:
  friend class ProcessBuilder;
  enum class Kind : std::uint8_t { Pipe, Inherit, Discard, From, To, AppendTo, Descriptor };
  explicit Redirect(Kind kind, std::filesystem::path file = {}, int fd = -1)
      : kind_(kind), fd_(fd), file_(std::move(file)) {}

  Kind kind_;
  int fd_;
  std::filesystem::path file_;
};

/// What a process may use at most; setrlimit(2) says what happens then.
enum class ProcessLimit : std::uint8_t {
  AddressSpaceBytes,
  CoreFileBytes,
  CpuSeconds,
  DataBytes,
  FileBytes,
  LockedBytes,
  OpenFiles,
  Processes,  ///< of its user
  StackBytes,
};

/// Says how a process is to be started, then starts it, as often as wanted; java.lang.ProcessBuilder.
///
///     creel::ProcessBuilder builder{"convert", "in.png", "out.jpg"};
///     builder.environment()["LC_ALL"] = "C";
///     builder.directory(folder).redirect_error_stream().limit(creel::ProcessLimit::CpuSeconds, 10);
///     creel::Process process = builder.start();
///
/// The process begins with what is said here and nothing else of ours: no descriptor but its three and those
/// of inherit_descriptor(), no blocked signals, SIGPIPE at its default (other ignored signals stay ignored).
class ProcessBuilder {
 public:
  ProcessBuilder(std::initializer_list<std::string> command) : command_(command) {}
  explicit ProcessBuilder(std::vector<std::string> command) : command_(std::move(command)) {}

  /// The program and its arguments. A program without a slash is looked for in our PATH; one with a relative
  /// path, from directory().
  ProcessBuilder& command(std::vector<std::string> command);
  const std::vector<std::string>& command() const noexcept { return command_; }

  /// Its environment, to be changed: at first a copy of ours, as it is at the first call.
  std::map<std::string, std::string>& environment();

  /// Where it begins; ours by default.
  ProcessBuilder& directory(std::filesystem::path directory);

  ProcessBuilder& redirect_input(Redirect source);
  ProcessBuilder& redirect_output(Redirect target);
  ProcessBuilder& redirect_error(Redirect target);
  /// Standard error goes where standard output goes; redirect_error() is then without effect, and
  /// Process::standard_error() is no open stream.
  ProcessBuilder& redirect_error_stream(bool on = true);
  /// All three are ours.
  ProcessBuilder& inherit_io();

  /// Both the soft and the hard limit. Above our own hard limit start() throws (EPERM).
  ProcessBuilder& limit(ProcessLimit what, std::uint64_t value);
  /// It leads a process group of its own, so that kill(-pid) means it and its children, and the terminal's
  /// Ctrl-C does not; or it joins that of `leader`.
  ProcessBuilder& process_group(pid_t leader = 0);
  /// It leads a session of its own, without a terminal.
  ProcessBuilder& new_session(bool on = true);
  /// It gets `signal` when our process ends, however that happens. (Not its own children: see new_session.)
  ProcessBuilder& death_signal(int signal);
  /// `fd` stays open in it, under the same number.
  ProcessBuilder& inherit_descriptor(int fd);
  /// `action` is called when it has ended and nobody has been told so yet: until it returns, no other process
  /// gets its number. The place to remove what bears the number: files, sockets, a cgroup. It runs on the
  /// runtime's I/O thread and may not block; what it throws is logged. Not called if somebody else waited
  /// for the process.
  ///
  ///     builder.at_end([](const creel::ProcessHandle& process) { remove(pid_file_of(process.pid())); });
  ProcessBuilder& at_end(std::function<void(const ProcessHandle&)> action);

  /// Returns when it runs. Throws IoError that names the program, what was tried and what the system said; a
  /// step before the program (its directory, a file, a limit) is named. Blocks for about a millisecond;
  /// another carrier takes the place of a virtual thread's meanwhile.
  Process start() const;

  /// Starts all, each one's standard output connected with the next one's standard input. Throws as start(),
  /// after it has killed those that ran already, and Error if one of the redirections between them is not
  /// Redirect::pipe().
  static std::vector<Process> start_pipeline(std::span<const ProcessBuilder> builders);
  static std::vector<Process> start_pipeline(std::initializer_list<ProcessBuilder> builders) {
    return start_pipeline(std::span(builders.begin(), builders.size()));
  }

 private:
  struct Streams;
  Process start(int input, int output) const;  // descriptors in place of the redirections; -1: none
  std::vector<std::string> environment_strings() const;
  std::vector<std::string> candidates() const;

  std::vector<std::string> command_;
  std::optional<std::map<std::string, std::string>> environment_;
  std::filesystem::path directory_;
  Redirect input_ = Redirect::pipe();
  Redirect output_ = Redirect::pipe();
  Redirect error_ = Redirect::pipe();
  bool error_to_output_ = false;
  std::vector<std::pair<ProcessLimit, std::uint64_t>> limits_;
  std::optional<pid_t> process_group_;
  bool new_session_ = false;
  int death_signal_ = 0;
  std::vector<int> inherited_;
  std::function<void(const ProcessHandle&)> at_end_;
};

}  // namespace creel
