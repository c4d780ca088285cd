#include "dump_engine.hpp"
#include "management/attach_listener.hpp"
#include "management/diagnostic_commands.hpp"
#include "management/perf_data.hpp"
#include "stack_overflow.hpp"

#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>

namespace creel {
namespace {

constexpr int kCountersEveryMs = 1000;  // as often as jstat looks by default

// What the SIGQUIT handler writes to; -1 while there is no Diagnostics.
std::atomic<int> quit_fd{-1};
std::atomic<Diagnostics::State*> active{nullptr};

void on_sigquit(int) {
  const int error_number = errno;
  const int fd = quit_fd.load(std::memory_order_relaxed);
  if (fd >= 0) ::eventfd_write(fd, 1);
  errno = error_number;
}

void join_thread(const Thread& thread) noexcept {
  while (thread && thread.is_alive()) {
    try {
      thread.join();
    } catch (const InterruptedError&) {  // the thread uses what is destroyed next: it has to end first
    }
  }
}

std::string command_line(const DiagnosticsOptions& options) {
  std::string line = options.name.empty() ? program_invocation_short_name : options.name;
  for (const std::string& argument : options.arguments) line += " " + argument;
  return line;
}

// The file by which a client, of our user or root, says that its SIGQUIT asks for the attach socket, not for
// a dump.
bool attach_is_asked_for() {
  const std::string name = ".attach_pid" + std::to_string(::getpid());
  for (const std::string& path : {name, "/tmp/" + name}) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (status.st_uid == ::geteuid() || status.st_uid == 0) return true;
  }
  return false;
}

}  // namespace

class Diagnostics::State {
 public:
  explicit State(const DiagnosticsOptions& options);
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// Installs everything; if it throws, the destructor takes back what was installed.
  void start(const DiagnosticsOptions& options);

  /// In a forked child, which has the files of its parent but none of the threads.
  void abandon() noexcept;

 private:
  void dispatch();
  void on_quit();

  detail::DiagnosticCommands commands_;
  UniqueFd quit_;  // eventfds
  UniqueFd stop_;
  UniqueFd overflow_;
  struct sigaction replaced_ {};
  bool handles_sigquit_ = false;
  bool samples_ = false;
  std::optional<detail::AttachListener> listener_;
  std::optional<detail::PerfData> perf_data_;
  Thread dispatcher_;
};

Diagnostics::State::State(const DiagnosticsOptions& options)
    : commands_(command_line(options)),
      quit_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      overflow_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!quit_ || !stop_ || !overflow_) throw IoError("make an eventfd for diagnostics", "", errno);
}

void Diagnostics::State::start(const DiagnosticsOptions& options) {
  if (::gettid() == ::getpid()) Thread::adopt_current("main");
  if (options.attach) {
    try {
      listener_.emplace([this](const detail::AttachRequest& request) { return commands_.execute(request); });
    } catch (const IoError& error) {
      log::warn("attach.unavailable", {{"reason", error.what()}});
    }
  }
  {
    detail::DumpEngine& engine = detail::DumpEngine::instance();
    const std::lock_guard guard{engine.lock};
    engine.sampler.install(options.sample_signal);
    samples_ = true;
  }
  if (options.sigquit) {
    quit_fd = quit_.get();
    struct sigaction action {};
    action.sa_handler = &on_sigquit;
    action.sa_flags = SA_RESTART;
    handles_sigquit_ = ::sigaction(SIGQUIT, &action, &replaced_) == 0;
  }
  if (options.stack_overflow) detail::install_overflow_handler(overflow_.get());
  // Last: who finds us by it may attach at once.
  if (options.perf_data) {
    try {
      perf_data_.emplace(detail::PerfData::Options{command_line(options), CREEL_VERSION});
    } catch (const Error& error) {
      log::warn("perf_data.unavailable", {{"reason", error.what()}});
    }
  }
  dispatcher_ = Thread::of_platform().name("Signal Dispatcher").daemon().start([this] { dispatch(); });
}

Diagnostics::State::~State() {
  detail::uninstall_overflow_handler();
  ::eventfd_write(stop_.get(), 1);
  join_thread(dispatcher_);
  perf_data_.reset();
  listener_.reset();
  if (handles_sigquit_) ::sigaction(SIGQUIT, &replaced_, nullptr);
  quit_fd = -1;
  if (!samples_) return;
  detail::DumpEngine& engine = detail::DumpEngine::instance();
  const std::lock_guard guard{engine.lock};
  engine.sampler.uninstall();
}

void Diagnostics::State::abandon() noexcept {
  detail::uninstall_overflow_handler();
  if (handles_sigquit_) ::sigaction(SIGQUIT, &replaced_, nullptr);
  quit_fd = -1;
  detail::DumpEngine::instance().sampler.uninstall();  // no lock: there is no other thread
  if (listener_) listener_->abandon();
  if (perf_data_) perf_data_->abandon();
}

void Diagnostics::State::dispatch() {
  for (;;) {
    std::array<pollfd, 3> waits{
        {{quit_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}, {overflow_.get(), POLLIN, 0}}};
    if (::poll(waits.data(), waits.size(), perf_data_ ? kCountersEveryMs : -1) < 0 && errno != EINTR) return;
    if (waits[2].revents != 0) detail::report_overflow();
    if (waits[1].revents != 0) return;
    if (perf_data_) perf_data_->update();
    eventfd_t ignored = 0;
    if (waits[0].revents != 0 && ::eventfd_read(quit_.get(), &ignored) == 0) on_quit();
  }
}

void Diagnostics::State::on_quit() {
  try {
    if (!attach_is_asked_for()) {
      detail::write_thread_dump(STDERR_FILENO);
    } else if (listener_) {
      listener_->ensure_bound();
    }
  } catch (const std::exception& error) {
    log::warn("sigquit.failed", {{"reason", error.what()}});
  }
}

Diagnostics::Diagnostics(DiagnosticsOptions options) {
  static std::mutex making;
  const std::lock_guard guard{making};
  if (active.load() != nullptr) throw Error("there is a creel::Diagnostics already; a process has one");
  static const int once = ::pthread_atfork(nullptr, nullptr, [] {
    if (State* const parents = active.exchange(nullptr)) parents->abandon();
  });
  static_cast<void>(once);
  state_ = std::make_unique<State>(options);
  state_->start(options);
  active = state_.get();
}

Diagnostics::~Diagnostics() {
  State* self = state_.get();
  if (!active.compare_exchange_strong(self, nullptr)) {
    // A forked child: the threads and files belong to the parent, and joining or removing them is not ours to
    // do.
    static_cast<void>(state_.release());
  }
}

}  // namespace creel
