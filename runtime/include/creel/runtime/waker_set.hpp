#pragma once

#include <creel/runtime/thread.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace creel {

/// The threads by which a wait can end, where no single one owns what is waited for: the users of a queue,
/// the workers at both ends of a channel.
///
/// Nobody can tell from a queue who is going to use it, so its user declares it; then a deadlock through the
/// queue is found as one through locks is. A thread that waits with a set in its Blocker is deadlocked when
/// every living thread of the set is. Declare all of them, or nobody: a thread that is missing makes a wait
/// look hopeless that it would have ended.
///
///     creel::WakerSet users;
///     users.assign(std::array{filler, drainer});     // once both have started
///     LockSupport::park({.object = &buffer, .type = "Buffer", .wakers = &users});
///
/// Threads that have ended count as not there, and a set without a living thread says nothing. Any thread may
/// call assign(). The set must live as long as somebody waits with it.
class WakerSet {
 public:
  WakerSet() noexcept = default;
  WakerSet(const WakerSet&) = delete;
  WakerSet& operator=(const WakerSet&) = delete;

  /// Replaces all members at once.
  void assign(std::span<const Thread> threads);
  /// The same by Thread::id().
  void assign(std::vector<std::uint64_t> ids);

 private:
  friend class WakerSetReader;

  // Read by dumps through the kernel, like a Blocker's other pointers: under a sequence counter, since the
  // ids may be replaced, and the whole set be gone, while they look.
  struct View {
    std::atomic<std::uint64_t> version{0};  // odd while it changes
    std::atomic<const std::uint64_t*> ids{nullptr};
    std::atomic<std::uint64_t> count{0};
  };
  View view_;
  std::mutex changing_;
  std::vector<std::uint64_t> ids_;
};

}  // namespace creel
