#pragma once

#include <creel/runtime/stack_trace.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace creel {

/// Keeps the calling virtual thread on its carrier for as long as it lives: for code that depends on the
/// thread of the operating system it runs on, such as a library that keeps state in its own thread_locals,
/// signal masks or thread-bound handles, and calls back into code that may wait.
///
///     const creel::PinnedScope pinned{"an OpenGL context"};
///     make_context_current(context);
///     creel::Future<Image> image = decode(file);
///     upload(image.get());  // waits together with the carrier, on the thread that has the context
///
/// A wait of creel's inside blocks the carrier, and another one takes its place meanwhile, as in blocking().
/// The wait itself is as anywhere: interrupt(), Deadline, dumps. Thread::yield() offers the processor, not
/// the carrier. Scopes nest; destroy them in reverse order, on the same thread. Costs a few stores; nothing
/// on a platform thread, which is always on its own.
class PinnedScope {
 public:
  /// `reason`: a static string; dumps and reports show it.
  explicit PinnedScope(const char* reason) noexcept;
  ~PinnedScope();
  PinnedScope(const PinnedScope&) = delete;
  PinnedScope& operator=(const PinnedScope&) = delete;

  /// Whether the calling thread is in one.
  static bool is_active() noexcept;

 private:
  const char* const outer_;
};

/// A virtual thread that holds its carrier while it waits: in a lock, a read, a sleep of somebody else's code
/// without blocking(), or in a wait of creel's inside a PinnedScope. The JDK's event jdk.VirtualThreadPinned.
struct PinnedThread {
  std::uint64_t id = 0;
  std::string name;
  std::string carrier;                ///< the name of the platform thread that waits with it
  std::chrono::nanoseconds so_far{};  ///< how long, when it was noticed
  std::string reason;                 ///< of its PinnedScope; empty: it waits in foreign code
  StackTrace stack;                   ///< of the virtual thread; empty if it went on meanwhile
};

/// How often that happened since the process began.
struct PinningFigures {
  std::uint64_t started = 0;           ///< virtual threads that were noticed so, each once a wait
  std::size_t pinned = 0;              ///< of those, how many wait at this moment
  std::chrono::nanoseconds longest{};  ///< the longest such wait, if it still lasts as long as it is by now
};

/// The figures at this moment; counters `creel.threads.pinned…` of jcmd's PerfCounter.print say the same.
///
/// A wait of creel's own does not pin: the thread leaves its carrier, unless it is in a PinnedScope. A
/// foreign one does. Once it has lasted for 20 ms (CREEL_PINNED_THRESHOLD_MS, 1 to 60000) without a break it
/// counts as pinned: another carrier stands in until it is over (up to 256 at a time), so that other virtual
/// threads go on; dumps mark the thread; the log names, once for each place in the program, the line that
/// waits (CREEL_TRACE_PINNED=off|short|full, default short; full: the whole stack). What to do about it: put
/// the call into blocking(), which has another carrier stand in at once, or wait by one of creel's own locks
/// and sockets. Never hold a std::mutex over a wait of creel's: every thread that wants it holds a carrier,
/// and once no more stand in, nobody is left to run the thread that could unlock it. Take Monitor or
/// ReentrantLock.
///
/// Long computations are not reported: they hold their carrier, too, but for work. Nothing is measured at a
/// switch of threads; one thread looks every few milliseconds while virtual threads run.
PinningFigures pinning_figures() noexcept;

/// `handler` is called for each virtual thread that gets pinned, on the watching thread (keep it short; what
/// it throws is logged). Replaces the handler before; an empty one takes it away. Wakes nobody and waits for
/// nobody: a call that is under way may still end after this returns.
void set_pinned_handler(std::function<void(const PinnedThread&)> handler);

}  // namespace creel
