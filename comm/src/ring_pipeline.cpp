#include "ring_pipeline.hpp"

#include "reduce_kernels/reduce_kernels.hpp"

#include <algorithm>
#include <cstring>
#include <deque>

namespace creel::comm::detail {
namespace {

constexpr std::size_t kLineBytes = 64;

class RingRun {
 public:
  RingRun(Transport& transport, const RingJob& job)
      : transport_(transport),
        job_(job),
        kernel_(reduce_kernel(job.dtype, job.op)),
        ranks_(transport.size()),
        rank_(transport.rank()),
        left_((rank_ + ranks_ - 1) % ranks_),
        right_((rank_ + 1) % ranks_),
        element_(size_of(job.dtype)),
        partial_(partial_size_of(job.dtype)),
        reduce_hops_(job.reduce ? ranks_ - 1 : 0),
        hops_(reduce_hops_ + (job.gather ? ranks_ - 1 : 0)) {
    // Partial results travel only where a block has more than one hop to its owner.
    const std::size_t widest = reduce_hops_ > 1 ? partial_ : element_;
    chunk_ = transport.chunk_bytes() / widest / kLineBytes * kLineBytes;
    if (chunk_ == 0) chunk_ = transport.chunk_bytes() / widest;
    chunks_ = (job.blocks.block + chunk_ - 1) / chunk_;
  }

  void run() {
    // One slot stays free: with all of them full around the ring nobody could forward.
    const auto window = static_cast<std::size_t>(transport_.depth() - 1);
    std::size_t started = 0;
    while (started < chunks_ || !under_way_.empty()) {
      while (started < chunks_ && under_way_.size() < window) start(started++);
      const Hop hop = under_way_.front();
      under_way_.pop_front();
      if (hop.index < reduce_hops_) {
        reduce(hop);
      } else {
        gather(hop);
      }
    }
  }

 private:
  // A message is known by its chunk and by how many hops that chunk has made. What this rank has sent and not
  // yet received in its turn is what its left neighbour, which does the same, sends next.
  struct Hop {
    std::size_t chunk;
    int index;
  };
  struct Piece {
    std::size_t offset;  // elements from the start of the buffer
    std::size_t count;
  };

  int block_at(int steps_back) const { return (rank_ - steps_back % ranks_ + 2 * ranks_) % ranks_; }

  // Chunk of a block; empty at the end of a shorter block.
  Piece piece(int block, std::size_t chunk) const {
    const std::size_t size = job_.blocks.size(block);
    const std::size_t from = std::min(chunk * chunk_, size);
    return {job_.blocks.begin(block) + from, std::min(chunk_, size - from)};
  }

  void send_copy(const std::byte* from, std::size_t bytes, Hop hop) {
    const std::span<std::byte> room = transport_.reserve(right_, bytes);
    if (bytes != 0) std::memcpy(room.data(), from, bytes);
    transport_.commit(right_);
    under_way_.push_back(hop);
  }

  void start(std::size_t chunk) {
    if (job_.reduce) {
      const Piece mine = piece(block_at(1), chunk);
      send_copy(job_.source + mine.offset * element_, mine.count * element_, {chunk, 0});
    } else {
      send_own(chunk, 0);
    }
  }

  void send_own(std::size_t chunk, int hop) {
    const Piece own = piece(rank_, chunk);
    send_copy(job_.gathered + own.offset * element_, own.count * element_, {chunk, hop});
  }

  void reduce(Hop hop) {
    const Piece mine = piece(block_at(hop.index + 2), hop.chunk);
    const bool from_partial = hop.index > 0;
    const bool finished = hop.index == reduce_hops_ - 1;
    const std::span<const std::byte> message =
        transport_.receive(left_, mine.count * (from_partial ? partial_ : element_));
    const std::byte* source = job_.source + mine.offset * element_;
    const CombineFunction combine = kernel_.combine[from_partial][finished];
    if (finished) {
      const std::size_t from = mine.offset - job_.blocks.begin(rank_);
      combine(job_.result + from * element_, message.data(), source, mine.count, ranks_);
    } else {
      const std::span<std::byte> room = transport_.reserve(right_, mine.count * partial_);
      combine(room.data(), message.data(), source, mine.count, ranks_);
      transport_.commit(right_);
      under_way_.push_back({hop.chunk, hop.index + 1});
    }
    transport_.release(left_);
    if (finished && job_.gather) send_own(hop.chunk, hop.index + 1);
  }

  void gather(Hop hop) {
    const int steps = hop.index - reduce_hops_;
    const Piece theirs = piece(block_at(steps + 1), hop.chunk);
    const std::size_t bytes = theirs.count * element_;
    const std::span<const std::byte> message = transport_.receive(left_, bytes);
    std::byte* to = job_.gathered + theirs.offset * element_;
    if (bytes != 0) std::memcpy(to, message.data(), bytes);
    if (hop.index + 1 < hops_) send_copy(message.data(), bytes, {hop.chunk, hop.index + 1});
    transport_.release(left_);
  }

  Transport& transport_;
  const RingJob& job_;
  const ReduceKernel& kernel_;
  int ranks_;
  int rank_;
  int left_;
  int right_;
  std::size_t element_;
  std::size_t partial_;
  int reduce_hops_;
  int hops_;
  std::size_t chunk_ = 0;   // elements
  std::size_t chunks_ = 0;  // of the longest block
  std::deque<Hop> under_way_;
};

}  // namespace

RingBlocks RingBlocks::split(std::size_t count, int ranks, std::size_t element_bytes) {
  const auto n = static_cast<std::size_t>(ranks);
  const std::size_t line = kLineBytes / element_bytes;
  return {count, ((count + n - 1) / n + line - 1) / line * line};
}

std::size_t RingBlocks::begin(int b) const noexcept {
  return std::min(static_cast<std::size_t>(b) * block, count);
}
std::size_t RingBlocks::size(int b) const noexcept { return begin(b + 1) - begin(b); }

void run_ring(Transport& transport, const RingJob& job) { RingRun(transport, job).run(); }

std::size_t ring_phase_bytes(std::size_t bytes, int ranks) noexcept {
  const auto n = static_cast<std::size_t>(ranks);
  return (n - 1) * ((bytes + n - 1) / n);
}

}  // namespace creel::comm::detail
