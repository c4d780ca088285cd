#pragma once

#include "../io_loop.hpp"

#include <creel/runtime/unique_fd.hpp>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

namespace creel::detail {

enum class ReadyOutcome : std::uint8_t { Ready, TimedOut, Interrupted, Closed };

/// A non-blocking descriptor that any number of threads may wait on and any thread may close: who waits then
/// wakes, and the number is given back to the system when the last of them has left, so that nobody reads
/// from a descriptor that has become something else.
class Descriptor {
 public:
  /// `type` is a static string ("creel::TcpSocket"); `peer` is what messages and dumps call the other side.
  /// Throws IoError if the descriptor cannot be made non-blocking.
  Descriptor(UniqueFd fd, const char* type, std::string peer);
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  const std::string& peer() const noexcept { return peer_; }
  bool is_socket() const noexcept { return is_socket_; }
  bool is_closed() const noexcept { return (uses_.load(std::memory_order_acquire) & kClosed) != 0; }
  void close() noexcept;

  /// Makes `attempt(fd)`, waiting before each but the first until the descriptor is ready, until it returns
  /// true (false: it would have blocked). `what` stands in dumps: "data from 127.0.0.1:5000".
  template <typename Attempt>
  ReadyOutcome when_ready(Ready ready, const char* what, Deadline deadline, Attempt&& attempt) {
    const Use use(*this);
    if (!use.is_open) return ReadyOutcome::Closed;
    if (was_interrupted()) return ReadyOutcome::Interrupted;
    for (;;) {
      // Before the attempt: an event from now on means that it may be worth another.
      const std::uint64_t seen = watch_.direction(ready).events.load(std::memory_order_acquire);
      if (is_closed()) return ReadyOutcome::Closed;
      if (attempt(fd_)) return ReadyOutcome::Ready;
      const ReadyOutcome outcome = wait(ready, what, seen, deadline);
      if (outcome != ReadyOutcome::Ready) return outcome;
    }
  }

  /// Calls `function(fd)` unless the descriptor is closed; whether it did.
  template <typename Function>
  bool with_fd(Function&& function) {
    const Use use(*this);
    if (use.is_open) std::forward<Function>(function)(fd_);
    return use.is_open;
  }

 private:
  static constexpr std::uint64_t kClosed = 1, kOneUse = 2;

  struct Use {
    explicit Use(Descriptor& its) noexcept : descriptor(its), is_open(its.enter()) {}
    ~Use() {
      if (is_open) descriptor.leave();
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    Descriptor& descriptor;
    const bool is_open;
  };

  static bool was_interrupted() noexcept;
  ReadyOutcome wait(Ready ready, const char* what, std::uint64_t seen, Deadline deadline);
  bool enter() noexcept;  // false: it is closed
  void leave() noexcept;

  const int fd_;
  bool is_socket_ = false;
  std::atomic<std::uint64_t> uses_{kOneUse};  // one is the open descriptor's own
  Watch& watch_;
  const char* const type_;
  const std::string peer_;
};

}  // namespace creel::detail
