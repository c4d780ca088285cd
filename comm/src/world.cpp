#include "shared_segment.hpp"

#include <creel/comm/world.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <thread>

namespace creel::comm {
namespace {

using detail::RankBlock;
using detail::WorldGeometry;
using detail::WorldHeader;

constexpr std::size_t kDepth = 4;
// Four of them are half of a core's second-level cache: what the sender wrote is read before memory sees it,
// and more memory would only be slower.
constexpr std::size_t kChunkBytes = std::size_t{128} << 10;

WorldGeometry geometry_for(int ranks, std::size_t slot_bytes) {
  if (ranks < 1 || ranks > World::kMaxRanks) {
    throw Error("a world of " + std::to_string(ranks) + " ranks: use 1 to " +
                std::to_string(World::kMaxRanks));
  }
  const auto peers = static_cast<std::size_t>(std::max(ranks - 1, 1));
  const std::size_t share = slot_bytes / peers / kDepth / detail::kLine * detail::kLine;
  if (share < detail::kLine) {
    throw Error("slots of " + std::to_string(slot_bytes) + " bytes are too small for " +
                std::to_string(ranks) + " ranks; use at least " +
                std::to_string(peers * kDepth * detail::kLine));
  }
  return {static_cast<std::size_t>(ranks), kDepth, std::min(share, kChunkBytes)};
}

void check_rank(int rank, int size) {
  if (rank < 0 || rank >= size) {
    throw Error("rank " + std::to_string(rank) + " of a world of " + std::to_string(size) + " ranks");
  }
}

}  // namespace

World World::create(int ranks, std::size_t slot_bytes) {
  return World(
      std::shared_ptr<detail::SharedSegment>(detail::SharedSegment::create(geometry_for(ranks, slot_bytes))));
}

World World::attach(int fd) {
  return World(std::shared_ptr<detail::SharedSegment>(detail::SharedSegment::attach(UniqueFd(fd))));
}

int World::fd() const noexcept { return segment_->fd(); }
int World::size() const noexcept { return segment_->ranks(); }

void World::enter(int rank) {
  check_rank(rank, size());
  const pid_t self = ::getpid();
  std::int32_t seen = 0;
  if (!segment_->rank(rank).pid.compare_exchange_strong(seen, self, std::memory_order_acq_rel) &&
      seen != self) {
    throw Error("rank " + std::to_string(rank) + " is process " + std::to_string(seen) +
                " already; process " + std::to_string(self) + " needs a rank of its own");
  }
}

RankStatus World::status(int rank) const {
  check_rank(rank, size());
  detail::RankSnapshot seen = segment_->snapshot(rank);
  seen.operation.label = seen.label;
  RankStatus status;
  status.pid = seen.pid;
  status.sequence = seen.operation.sequence;
  if (seen.active) {
    status.waiting_for = seen.waiting_for;
    status.doing = doing(seen.operation, seen.waiting_for);
  }
  return status;
}

void World::abort(int lost_rank, std::string_view reason) {
  if (lost_rank != -1) check_rank(lost_rank, size());
  WorldHeader& header = segment_->header();
  std::uint32_t expected = 0;
  if (!header.aborted.compare_exchange_strong(expected, static_cast<std::uint32_t>(lost_rank + 2),
                                              std::memory_order_seq_cst)) {
    return;
  }
  const std::size_t length =
      std::min(reason.size(), detail::kReasonBytes - 1);  // the zero at the end is there already
  std::copy_n(reason.data(), length, header.reason.data());
  header.reason_ready.store(1, std::memory_order_release);
  for (int r = 0; r < size(); ++r) {
    RankBlock& block = segment_->rank(r);
    block.bell.fetch_add(1, std::memory_order_seq_cst);
    LockSupport::wake(block.bell, INT_MAX, LockSupport::Scope::Shared);
  }
}

std::optional<Abort> World::aborted() const {
  const WorldHeader& header = segment_->header();
  const std::uint32_t word = header.aborted.load(std::memory_order_acquire);
  if (word == 0) return std::nullopt;
  // The text follows the word within nanoseconds, unless its writer died between the two.
  for (int i = 0; i < 10'000 && header.reason_ready.load(std::memory_order_acquire) == 0; ++i)
    std::this_thread::yield();
  Abort abort{static_cast<int>(word) - 2, "unknown reason"};
  if (header.reason_ready.load(std::memory_order_acquire) != 0) abort.reason = header.reason.data();
  return abort;
}

void World::request_stop(int signal_number) noexcept {
  segment_->header().stop_signal.store(signal_number, std::memory_order_release);
}

int World::stop_requested() const noexcept {
  return segment_->header().stop_signal.load(std::memory_order_acquire);
}

}  // namespace creel::comm
