#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/shared_segment.hpp>

#include <sys/types.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace creel {

/// Who holds something that processes share.
struct SharedOwner {
  pid_t pid = 0;  ///< 0: it has not said yet
  std::uint64_t thread_id = 0;
  std::string thread_name;  ///< at most 47 bytes of it
  bool is_alive = false;    ///< the process
};

/// A process died inside a SharedMonitor, and what it guards may be half-changed. Its code is RankLost.
class OwnerDiedError : public Error {
 public:
  OwnerDiedError(const std::string& monitor, SharedOwner owner,
                 std::source_location where = std::source_location::current());

  /// The one that died.
  const SharedOwner& owner() const noexcept { return owner_; }

 private:
  SharedOwner owner_;
};

/// A Monitor that the threads of several processes enter, by name, and that outlives who dies inside: a
/// reentrant lock with wait and notify in a SharedSegment.
///
///     auto segment = creel::SharedSegment::open_or_create("accounts", 1 << 20);
///     auto& book = segment.find_or_construct<Book>("book");
///     creel::SharedMonitor monitor{segment, "book lock", [&] { book.recount(); }};
///     const std::lock_guard guard{monitor};
///     monitor.wait([&] { return book.balance > 0; });
///
/// Lockable and TimedLockable by Deadline, on platform and virtual threads alike; a virtual one that waits
/// frees its carrier. Not fair: between processes the turn goes round, but a thread that comes by may enter
/// first. The threads of one process wait in their order.
///
/// A process that ends inside, killed or not, has left what the monitor guards in doubt. The next one to
/// enter, within 50 ms, gets the monitor and calls `repair`, given to the constructor; when that returns, the
/// doubt is over. Without a `repair`, entering throws OwnerDiedError, to everybody, until somebody calls
/// recover(). Nobody waits for a dead owner, and nobody enters unaware. (A *thread* that ends inside while
/// its process lives on is an error of the program, as with any other lock.) A process that dies waiting
/// takes no notification with it. One that is stopped, or dumps core, still has what it had.
///
/// The object is this process's access to the monitor, of which it may have several; after fork() the child
/// uses it as another process, which holds nothing. Destroy it only when no thread is in one of its calls.
/// Dumps show waiting threads as for Monitor; of an owner in another process they give its thread's name and
/// the pid. At most 256 processes use monitors and rings of one segment at once.
///
/// Memory effects: what a thread did before unlock() happens before what the next one does after its lock(),
/// in whatever process. What a process did in a monitor in which it died happens before the repair.
class SharedMonitor {
 public:
  /// The monitor of that name in `segment`, made if there is none (about 2.5 KiB). Throws Error if there is
  /// no memory, another type of object of that name, or 256 processes already; IoError; and what starting a
  /// thread throws: a process has one that listens, for each segment.
  SharedMonitor(SharedSegment& segment, std::string_view name, std::function<void()> repair = nullptr);
  ~SharedMonitor();
  SharedMonitor(const SharedMonitor&) = delete;
  SharedMonitor& operator=(const SharedMonitor&) = delete;
  /// Takes the monitor out of the segment; false if there is none. Nobody may be using it, nor have an object
  /// for it.
  static bool destroy(SharedSegment& segment, std::string_view name);

  /// Waits as long as it takes; interrupt() does not end it. Throws OwnerDiedError without having entered,
  /// and what `repair` throws: then, too, it has not entered, and the doubt stays.
  void lock();
  /// Takes the monitor if it is free, of a dead owner, or the caller's own. Throws as lock().
  bool try_lock();
  /// Waits until `deadline`; returns whether the monitor was taken. Throws InterruptedError, and as lock().
  bool try_lock(Deadline deadline);
  /// Throws Error if the calling thread is not inside.
  void unlock();

  /// Leaves the monitor, however often entered, until notified, and enters again. Returns false if `deadline`
  /// passed first. May return true for no reason: wait in a loop, or give a predicate. Throws
  /// InterruptedError; OwnerDiedError or what `repair` throws if somebody died inside meanwhile; and Error if
  /// the calling thread is not inside. It is inside again in each case.
  bool wait(Deadline deadline = {});
  /// Waits until `predicate()` is true; returns its last value. Throws as wait().
  template <std::predicate Predicate>
  bool wait(Predicate predicate, Deadline deadline = {}) {
    while (!predicate()) {
      if (!wait(deadline)) return predicate();
    }
    return true;
  }
  /// Lets one waiting thread go on, of this process or another, once the monitor is free. Throws Error if the
  /// calling thread is not inside.
  void notify_one();
  void notify_all();

  /// Enters in spite of a doubt and, if there is one, calls `repair` and ends it; leaves. Returns whether
  /// there was one. If `repair` throws, the doubt stays.
  bool recover(const std::function<void()>& repair);
  /// Whether somebody died inside and nobody has repaired what it left. For people, unless inside.
  bool is_in_doubt() const noexcept;

  bool is_held_by_current_thread() const noexcept;
  /// Who is inside at this moment, in whatever process; nullopt if nobody.
  std::optional<SharedOwner> owner() const;
  const std::string& name() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Calls `body` inside `monitor` and returns what it returns.
template <typename Body>
decltype(auto) synchronized(SharedMonitor& monitor, Body&& body) {
  const std::lock_guard guard{monitor};
  return std::forward<Body>(body)();
}

}  // namespace creel
