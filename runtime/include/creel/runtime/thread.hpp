#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/error.hpp>

#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace creel {

namespace detail {
class ThreadRecord;

/// What a thread can run: `body()`, or `body(token)`; a std::function cannot hold it, since it only moves.
template <typename Body, typename... Arguments>
concept MoveOnlyBody =
    !std::copy_constructible<std::decay_t<Body>> && std::invocable<std::decay_t<Body>&, Arguments...>;

template <typename Body>
auto shared_body(Body&& body) {
  return [body = std::make_shared<std::decay_t<Body>>(std::forward<Body>(body))](auto&&... arguments) {
    std::invoke(*body, std::forward<decltype(arguments)>(arguments)...);
  };
}
}  // namespace detail
class Monitor;
class Thread;
class ThreadContainer;

/// Gets what a thread's body throws, on that thread.
using UncaughtExceptionHandler = std::function<void(const Thread&, std::exception_ptr)>;

/// Java's Thread.State. to_string gives Java's spelling, "TIMED_WAITING".
enum class ThreadState : std::uint8_t { New, Runnable, Blocked, Waiting, TimedWaiting, Terminated };
std::string_view to_string(ThreadState state) noexcept;

/// What kind of wait a thread is in: decides the words of its dump.
enum class WaitKind : std::uint8_t {
  Parking,       ///< LockSupport::park and all built on it: "parking to wait for"
  MonitorEnter,  ///< Monitor::lock: "waiting to lock", state BLOCKED
  MonitorWait,   ///< Monitor::wait: "waiting on"
  Sleeping,      ///< Thread::sleep
  Joining,       ///< Thread::join
  External,      ///< a foreign wait announced by blocking(): a system call, another process
};

/// How many threads there are, or were. Platform threads (started by creel, or adopted), but for
/// virtual_live.
struct ThreadCounts {
  std::uint64_t live = 0;
  std::uint64_t peak = 0;  ///< the most that were live at once, since the start or Thread::reset_peak_count()
  std::uint64_t started = 0;  ///< since the process began
  std::uint64_t daemon = 0;   ///< of those alive
  std::uint64_t virtual_live = 0;
};

/// A thread with a name, a state and an interrupt flag that thread dumps show; Java's java.lang.Thread.
///
/// A Thread is a handle: copies name the same thread, and dropping the last one neither joins nor detaches
/// anything. A thread that is not a daemon should be joined before main ends.
///
///     creel::Thread worker = creel::Thread::of_platform().name("decode-", 0).start([] { … });
///     worker.join();
///
/// Memory effects: what a thread did before start() happens before everything in the new thread; everything
/// in a thread happens before join() on it returns. interrupt() happens before the interrupted thread sees
/// it.
class Thread {
 public:
  class Builder;

  /// Threads of the operating system, with a native stack each.
  static Builder of_platform();
  /// Virtual threads: scheduled on a few carrier threads; a blocking call of creel's parks the virtual thread
  /// and frees its carrier.
  static Builder of_virtual();

  /// An empty handle; only assignment and operator bool are defined on it.
  Thread() noexcept = default;
  explicit operator bool() const noexcept { return record_ != nullptr; }

  /// The calling thread. A thread that creel did not start is adopted on first use under its kernel name.
  static Thread current();
  static std::string current_name();
  /// Gives the calling foreign thread a name and lists it in dumps until it ends.
  static Thread adopt_current(std::string name);

  std::uint64_t id() const noexcept;
  std::string name() const;
  void set_name(std::string name);
  bool is_virtual() const noexcept;
  bool is_daemon() const noexcept;
  int priority() const noexcept;
  /// 1 (least) to 10, else Error; also before the start. The operating system gets it where the process may
  /// set it.
  void set_priority(int priority) const;
  ThreadState state() const noexcept;
  bool is_alive() const noexcept;

  /// Sets the interrupt flag and wakes the thread from any interruptible wait of creel's, which then throws
  /// InterruptedError and clears the flag (LockSupport::park only returns). No effect on a thread that has
  /// ended.
  void interrupt() const;
  bool is_interrupted() const noexcept;
  /// Tests and clears the calling thread's interrupt flag.
  static bool interrupted() noexcept;

  /// Starts a thread that Builder::unstarted() has made. Error if it was started before; throws as
  /// Builder::start().
  void start() const;

  /// Waits until the thread has ended. Returns false if `deadline` passes first.
  /// Throws InterruptedError if there is something to wait for. Joining oneself is an Error, and so is
  /// joining a thread that was not started.
  bool join(Deadline deadline = {}) const;

  /// Blocks the calling thread at least until `deadline`. Throws InterruptedError.
  static void sleep(Deadline deadline);
  /// Offers the processor to another thread (a virtual one: to another virtual thread).
  static void yield() noexcept;
  /// Tells the processor that the caller spins until another thread does something.
  static void on_spin_wait() noexcept;

  /// Starts a virtual thread without a name.
  static Thread start_virtual_thread(std::function<void()> body);
  template <detail::MoveOnlyBody Body>
  static Thread start_virtual_thread(Body&& body) {
    return start_virtual_thread(std::function<void()>(detail::shared_body(std::forward<Body>(body))));
  }
  /// All live threads that creel knows, platform and virtual ones, by id: started by it, or adopted.
  static std::vector<Thread> all();
  /// The same without a list: some atomic reads.
  static ThreadCounts counts() noexcept;
  /// Lets the peak begin anew with those that are live.
  static void reset_peak_count() noexcept;
  /// Whether the calling thread is inside `monitor`.
  static bool holds_lock(const Monitor& monitor) noexcept;

  /// What gets the uncaught exceptions of threads that have no handler of their own; an empty one, as at the
  /// beginning, leaves them to the log. The body's exceptions only: one that leaves main() ends the process.
  static void set_default_uncaught_exception_handler(UncaughtExceptionHandler handler);
  static UncaughtExceptionHandler default_uncaught_exception_handler();
  /// Makes `handler` get what the thread's body throws from now on; an empty one leaves it to the default.
  void set_uncaught_exception_handler(UncaughtExceptionHandler handler) const;
  /// What would get it: the thread's own handler, else the default one. Empty if there is neither, or the
  /// thread has ended.
  UncaughtExceptionHandler uncaught_exception_handler() const;

  friend bool operator==(const Thread& a, const Thread& b) noexcept { return a.record_ == b.record_; }

  /// For the runtime's own parts.
  explicit Thread(std::shared_ptr<detail::ThreadRecord> record) noexcept : record_(std::move(record)) {}
  const std::shared_ptr<detail::ThreadRecord>& record() const noexcept { return record_; }

 private:
  std::shared_ptr<detail::ThreadRecord> record_;
};

/// Makes the threads of executors and scopes: a function that runs what it is given on a new thread and
/// returns that thread, started (Builder::start(), factory()) or not (Builder::unstarted(), as Java's
/// factories).
using ThreadFactory = std::function<Thread(std::function<void()>)>;

/// Collects a thread's properties, then starts it. start() may be called again: the counter of name(prefix,
/// n) goes on.
class Thread::Builder {
 public:
  Builder& name(std::string name);
  /// Names of the form `prefix` + counter, counting from `start`.
  Builder& name(std::string prefix, std::uint64_t start);
  Builder& daemon(bool on = true);
  /// 1 (least) to 10; 5 by default. Shown in dumps; the operating system gets it where the process may set
  /// it.
  Builder& priority(int priority);
  /// Bytes of native stack; 0 means the system's default (8 MiB). For a virtual thread its own stack, 64 KiB
  /// by default.
  Builder& stack_size(std::size_t bytes);
  Builder& uncaught_exception_handler(UncaughtExceptionHandler handler);
  /// Whether the thread gets copies of the InheritableThreadLocals of the thread that makes it; on by
  /// default.
  Builder& inherit_thread_locals(bool on);
  /// The executor or scope under which dumps list the thread.
  Builder& container(std::shared_ptr<ThreadContainer> container);

  /// Starts a thread that runs `body`; that may be move-only, as a lambda is that owns a socket. Throws Error
  /// naming the limit if the system gives no more threads.
  Thread start(std::function<void()> body);
  /// As start, but `body` gets a stop_token that interrupt() also requests to stop, before it ends a wait;
  /// the token's callbacks run on the thread that interrupts.
  Thread start(std::function<void(std::stop_token)> body);
  /// Makes a thread in state New, to be started by Thread::start(). Dumps do not list it before.
  Thread unstarted(std::function<void()> body);
  // The same for what a std::function cannot hold.
  template <detail::MoveOnlyBody Body>
  Thread start(Body&& body) {
    return start(std::function<void()>(detail::shared_body(std::forward<Body>(body))));
  }
  template <detail::MoveOnlyBody<std::stop_token> Body>
  Thread start(Body&& body) {
    return start(std::function<void(std::stop_token)>(detail::shared_body(std::forward<Body>(body))));
  }
  template <detail::MoveOnlyBody Body>
  Thread unstarted(Body&& body) {
    return unstarted(std::function<void()>(detail::shared_body(std::forward<Body>(body))));
  }
  /// A factory that makes threads as this builder is now. The factory may be called from several threads.
  ThreadFactory factory() const;

 private:
  friend class Thread;
  struct Options;
  std::shared_ptr<Options> options_;
};

/// Says what the calling thread works on, in one line that stands under its name in every dump, until the end
/// of the scope, when the line before it comes back.
///
///     creel::Activity activity{"stage decode, item 000123 of train-000000.tar"};
///
/// Costs a copy of at most 119 bytes (longer text is cut); takes no lock. Use on the thread that made it.
class Activity {
 public:
  explicit Activity(std::string_view text) noexcept;
  ~Activity();
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;
  /// Replaces this scope's line.
  void set(std::string_view text) noexcept;

 private:
  char previous_[120];
};

}  // namespace creel
