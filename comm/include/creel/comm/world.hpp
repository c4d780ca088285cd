#pragma once

#include <creel/comm/operation.hpp>

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace creel::comm {

namespace detail {
class SharedSegment;
}

/// What one rank is and does, as another process sees it.
struct RankStatus {
  pid_t pid = 0;               ///< 0: nobody has entered as this rank yet
  std::string doing;           ///< "" outside collectives, else "all_reduce #41, 1.2 MiB, waiting for rank 1"
  std::uint64_t sequence = 0;  ///< number of the collective it is in, or was in last; 0: none yet
  int waiting_for = -1;        ///< rank that it waits for, -1: none
};

/// Which rank was lost, and why ("killed by signal 9 (SIGKILL)").
struct Abort {
  int rank = -1;
  std::string reason;
};

/// The memory that the ranks of one run on one machine share: mailboxes between them, what each is doing, and
/// the two words by which a launcher ends them. The launcher makes it, the ranks inherit its descriptor.
///
/// It is a memfd: it has no name, so that nothing is left behind whoever dies; it does not count against the
/// size of /dev/shm; its pages are all allocated when it is made and its size is sealed, so that no access
/// can fail later.
///
///     World world = World::create(2);                        // launcher
///     World world = World::attach(fd); world.enter(rank);    // rank
///     Group group = Group::join(world, rank);
///
/// A World is a handle: copies share the memory, which goes when the last process lets go of it. All
/// functions may be called from any thread of any process that has the memory.
class World {
 public:
  static constexpr int kMaxRanks = 255;

  /// Memory for `ranks` ranks, of which each gets up to `slot_bytes` of mailboxes (it takes what pays, 512
  /// KiB a peer at most). Throws IoError that names the needed and the present bytes if there is too little
  /// memory.
  static World create(int ranks, std::size_t slot_bytes = std::size_t{4} << 20);
  /// The memory behind an inherited descriptor, which the World then owns. Throws Error if it is not a World
  /// of this version of creel.
  static World attach(int fd);

  /// Close-on-exec; who starts ranks clears that in the child.
  int fd() const noexcept;
  int size() const noexcept;

  /// Publishes the calling process as `rank`. Throws Error if another process has that rank.
  void enter(int rank);
  /// Never waits, also for a rank that is stopped or dead; then it is the last thing that the rank published.
  RankStatus status(int rank) const;

  /// Ends the run: every rank that waits in a collective, or enters one, throws CommError with peer =
  /// `lost_rank` and `reason` (cut after 255 bytes). The first caller wins; -1 stands for no rank in
  /// particular.
  void abort(int lost_rank, std::string_view reason);
  std::optional<Abort> aborted() const;

  /// Asks the ranks to stop after the step they are in. Async-signal-safe.
  void request_stop(int signal_number) noexcept;
  /// The signal that was asked for; 0: none.
  int stop_requested() const noexcept;

  const std::shared_ptr<detail::SharedSegment>& segment() const noexcept { return segment_; }

 private:
  explicit World(std::shared_ptr<detail::SharedSegment> segment) noexcept : segment_(std::move(segment)) {}
  std::shared_ptr<detail::SharedSegment> segment_;
};

}  // namespace creel::comm
