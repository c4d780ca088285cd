#include "process_files.hpp"
#include "process_state.hpp"
#include "spawn.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/process_builder.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <future>

namespace creel {
namespace {

using detail::SpawnOutcome;
using detail::SpawnPlan;
using detail::SpawnStep;

int resource_of(ProcessLimit limit) noexcept {
  switch (limit) {
    case ProcessLimit::AddressSpaceBytes:
      return RLIMIT_AS;
    case ProcessLimit::CoreFileBytes:
      return RLIMIT_CORE;
    case ProcessLimit::CpuSeconds:
      return RLIMIT_CPU;
    case ProcessLimit::DataBytes:
      return RLIMIT_DATA;
    case ProcessLimit::FileBytes:
      return RLIMIT_FSIZE;
    case ProcessLimit::LockedBytes:
      return RLIMIT_MEMLOCK;
    case ProcessLimit::OpenFiles:
      return RLIMIT_NOFILE;
    case ProcessLimit::Processes:
      return RLIMIT_NPROC;
    case ProcessLimit::StackBytes:
      return RLIMIT_STACK;
  }
  return RLIMIT_CORE;
}

// A copy above the standard streams' numbers, over which the child puts its own.
UniqueFd copy_above_standard(int fd, const char* what) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) throw IoError("cannot redirect a process's streams", what, errno);
  return copy;
}

UniqueFd open_file(const std::filesystem::path& file, int flags) {
  // Opening may block (a FIFO), and creates with what the umask leaves of 0666.
  const int fd = blocking("open of a file for a new process", [&] {
    const int opened = ::open(file.c_str(), flags | O_CLOEXEC, 0666);
    return opened >= 0 ? opened : -errno;
  });
  if (fd < 0) throw IoError("cannot redirect a process's streams", file.native(), -fd);
  const UniqueFd opened(fd);
  return copy_above_standard(fd, "a file");
}

std::vector<char*> pointers_to(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// The kernel takes the thread that forked for the parent whose death counts. This one never ends.
SpawnOutcome spawn_from_lasting_thread(const SpawnPlan& plan) {
  using Queue = LinkedBlockingQueue<std::packaged_task<SpawnOutcome()>*>;
  static std::mutex lock;
  static Queue* queue = nullptr;
  static pid_t its_process = 0;
  std::packaged_task<SpawnOutcome()> task([&] { return detail::spawn(plan); });
  {
    const std::lock_guard guard{lock};
    if (its_process != ::getpid()) {  // the first time, or in a child made by fork()
      queue = new Queue(SIZE_MAX, "processes to start");
      Thread::of_platform().name("process-parent").daemon().start([its = queue] {
        for (auto* each : *its) (*each)();
      });
      its_process = ::getpid();
    }
    queue->offer(&task);
  }
  return task.get_future().get();
}

[[noreturn]] void throw_failure(const SpawnPlan& plan, const std::string& program,
                                const SpawnOutcome& outcome) {
  std::string what = "cannot start " + program;
  std::string where;
  switch (outcome.failed) {
    case SpawnStep::Fork:
      what += ": no new process";
      break;
    case SpawnStep::Session:
      what += ": no session of its own";
      break;
    case SpawnStep::ProcessGroup:
      what += ": no such process group";
      break;
    case SpawnStep::Limit:
      what += ": its limits cannot be set";
      break;
    case SpawnStep::DeathSignal:
      what += ": no such death signal";
      break;
    case SpawnStep::Standard:
    case SpawnStep::Inherit:
      what += ": a descriptor that it should get is not open";
      break;
    case SpawnStep::Directory:
      what += " in directory";
      where = plan.directory;
      break;
    case SpawnStep::Exec:
      for (const std::string& candidate : plan.candidates) {
        where += (where.empty() ? "tried " : ", ") + candidate;
      }
      break;
  }
  throw IoError(what, where, outcome.error);
}

}  // namespace

ProcessBuilder& ProcessBuilder::command(std::vector<std::string> command) {
  command_ = std::move(command);
  return *this;
}

std::map<std::string, std::string>& ProcessBuilder::environment() {
  if (!environment_) {
    environment_.emplace();
    for (char** each = ::environ; each != nullptr && *each != nullptr; ++each) {
      const std::string entry = *each;
      const std::size_t sign = entry.find('=');
      if (sign != std::string::npos)
        environment_->insert_or_assign(entry.substr(0, sign), entry.substr(sign + 1));
    }
  }
  return *environment_;
}

ProcessBuilder& ProcessBuilder::directory(std::filesystem::path directory) {
  directory_ = std::move(directory);
  return *this;
}

ProcessBuilder& ProcessBuilder::redirect_input(Redirect source) {
  if (source.kind_ == Redirect::Kind::To || source.kind_ == Redirect::Kind::AppendTo) {
    throw Error("standard input cannot go to a file: use Redirect::from", ErrorCode::Config);
  }
  input_ = std::move(source);
  return *this;
}

ProcessBuilder& ProcessBuilder::redirect_output(Redirect target) {
  if (target.kind_ == Redirect::Kind::From) {
    throw Error("standard output cannot come from a file: use Redirect::to", ErrorCode::Config);
  }
  output_ = std::move(target);
  return *this;
}

ProcessBuilder& ProcessBuilder::redirect_error(Redirect target) {
  if (target.kind_ == Redirect::Kind::From) {
    throw Error("standard error cannot come from a file: use Redirect::to", ErrorCode::Config);
  }
  error_ = std::move(target);
  return *this;
}

ProcessBuilder& ProcessBuilder::redirect_error_stream(bool on) {
  error_to_output_ = on;
  return *this;
}

ProcessBuilder& ProcessBuilder::inherit_io() {
  input_ = output_ = error_ = Redirect::inherit();
  return *this;
}

ProcessBuilder& ProcessBuilder::limit(ProcessLimit what, std::uint64_t value) {
  limits_.emplace_back(what, value);
  return *this;
}

ProcessBuilder& ProcessBuilder::process_group(pid_t leader) {
  process_group_ = leader;
  return *this;
}

ProcessBuilder& ProcessBuilder::new_session(bool on) {
  new_session_ = on;
  return *this;
}

ProcessBuilder& ProcessBuilder::death_signal(int signal) {
  death_signal_ = signal;
  return *this;
}

ProcessBuilder& ProcessBuilder::inherit_descriptor(int fd) {
  inherited_.push_back(fd);
  return *this;
}

ProcessBuilder& ProcessBuilder::at_end(std::function<void(const ProcessHandle&)> action) {
  at_end_ = std::move(action);
  return *this;
}

std::vector<std::string> ProcessBuilder::environment_strings() const {
  std::vector<std::string> strings;
  if (!environment_) {
    for (char** each = ::environ; each != nullptr && *each != nullptr; ++each) strings.emplace_back(*each);
    return strings;
  }
  for (const auto& [name, value] : *environment_) {
    if (name.empty() || name.find('=') != std::string::npos ||
        (name + value).find('\0') != std::string::npos) {
      throw Error("an environment variable cannot be called \"" + name + "\" or hold a zero byte",
                  ErrorCode::Config);
    }
    strings.push_back(name + "=" + value);
  }
  return strings;
}

// Where the program may be, as a shell looks for it.
std::vector<std::string> ProcessBuilder::candidates() const {
  const std::string& program = command_.front();
  if (program.find('/') != std::string::npos) return {program};
  const char* path = std::getenv("PATH");
  const std::string folders = path != nullptr ? path : "/bin:/usr/bin";
  std::vector<std::string> found;
  for (std::size_t begin = 0; begin <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string folder = folders.substr(begin, end - begin);
    found.push_back(folder.empty() ? "./" + program : folder + "/" + program);
    begin = end + 1;
  }
  return found;
}

/// The child's descriptors, and our ends of the pipes.
struct ProcessBuilder::Streams {
  std::array<UniqueFd, 3> childs;
  std::array<UniqueFd, 3> ours;

  void open(std::size_t number, const Redirect& redirect) {
    const bool is_input = number == 0;
    switch (redirect.kind_) {
      case Redirect::Kind::Inherit:
        return;
      case Redirect::Kind::Pipe: {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw IoError("make a pipe", "a new process's", errno);
        const UniqueFd childs_end(ends[is_input ? 0 : 1]);
        ours[number].reset(ends[is_input ? 1 : 0]);
        childs[number] = copy_above_standard(childs_end.get(), "a pipe");
        return;
      }
      case Redirect::Kind::Discard:
        childs[number] = open_file("/dev/null", is_input ? O_RDONLY : O_WRONLY);
        return;
      case Redirect::Kind::From:
        childs[number] = open_file(redirect.file_, O_RDONLY);
        return;
      case Redirect::Kind::To:
        childs[number] = open_file(redirect.file_, O_WRONLY | O_CREAT | O_TRUNC);
        return;
      case Redirect::Kind::AppendTo:
        childs[number] = open_file(redirect.file_, O_WRONLY | O_CREAT | O_APPEND);
        return;
      case Redirect::Kind::Descriptor:
        childs[number] = copy_above_standard(redirect.fd_, "a descriptor that was given");
        return;
    }
  }
};

Process ProcessBuilder::start() const { return start(-1, -1); }

Process ProcessBuilder::start(int input, int output) const {
  if (command_.empty() || command_.front().empty()) throw Error("no program to start", ErrorCode::Config);
  std::vector<std::string> arguments = command_;
  for (const std::string& argument : arguments) {
    if (argument.find('\0') != std::string::npos) {
      throw Error("an argument of " + command_.front() + " holds a zero byte", ErrorCode::Config);
    }
  }
  std::vector<std::string> environment = environment_strings();
  Streams streams;
  streams.open(0, input >= 0 ? Redirect::descriptor(input) : input_);
  streams.open(1, output >= 0 ? Redirect::descriptor(output) : output_);
  if (!error_to_output_) {
    streams.open(2, error_);
  } else {
    const UniqueFd& target = streams.childs[1];
    streams.childs[2] = copy_above_standard(target ? target.get() : STDOUT_FILENO, "standard output");
  }

  SpawnPlan plan;
  plan.candidates = candidates();
  plan.arguments = pointers_to(arguments);
  plan.environment = pointers_to(environment);
  plan.directory = directory_.native();
  for (std::size_t i = 0; i < 3; ++i) plan.standard[i] = streams.childs[i].get();
  plan.inherited = inherited_;
  for (const auto& [what, value] : limits_) plan.limits.push_back({resource_of(what), {value, value}});
  plan.process_group = process_group_;
  plan.new_session = new_session_;
  plan.death_signal = death_signal_;

  auto state = std::make_shared<Process::State>();
  const std::string& program = command_.front();
  const std::array<FdStream*, 3> ends = {&state->input, &state->output, &state->error};
  const std::array<const char*, 3> names = {"standard input of ", "standard output of ",
                                            "standard error of "};
  for (std::size_t i = 0; i < 3; ++i) {
    if (streams.ours[i]) *ends[i] = FdStream(std::move(streams.ours[i]), names[i] + program);
  }
  const SpawnOutcome outcome = blocking("start of a process", [&] {
    return plan.death_signal != 0 ? spawn_from_lasting_thread(plan) : detail::spawn(plan);
  });
  if (outcome.pid < 0) throw_failure(plan, program, outcome);
  state->pid = outcome.pid;
  state->at_end = at_end_;
  state->name = program + ", pid " + std::to_string(outcome.pid);
  Process::State::watch(state);
  return Process(std::move(state));
}

std::vector<Process> ProcessBuilder::start_pipeline(std::span<const ProcessBuilder> builders) {
  std::vector<Process> started;
  UniqueFd from_previous;
  try {
    for (std::size_t i = 0; i < builders.size(); ++i) {
      const ProcessBuilder& builder = builders[i];
      const bool is_last = i + 1 == builders.size();
      if ((i > 0 && builder.input_.kind_ != Redirect::Kind::Pipe) ||
          (!is_last && builder.output_.kind_ != Redirect::Kind::Pipe)) {
        throw Error(
            "process " + std::to_string(i) + " of a pipeline is redirected where the pipeline connects it",
            ErrorCode::Config);
      }
      int ends[2] = {-1, -1};
      if (!is_last && ::pipe2(ends, O_CLOEXEC) != 0) throw IoError("make a pipe", "a pipeline's", errno);
      UniqueFd to_next(ends[0]);
      const UniqueFd output(ends[1]);
      started.push_back(builder.start(from_previous.get(), output.get()));
      from_previous = std::move(to_next);
    }
  } catch (...) {
    for (const Process& process : started) process.destroy_forcibly();
    throw;
  }
  return started;
}

}  // namespace creel
