#include "transport/shared_memory.hpp"

#include "transport/blame.hpp"

#include <creel/runtime/lock_support.hpp>

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace creel::comm::detail {
namespace {

using namespace std::chrono_literals;

// About 4 us of looking without giving up the processor: what a message takes between two running ranks.
// Longer would only burn it, since a yield with nobody else to run costs as little and lets a rank on the
// same processor go on.
constexpr int kSpins = 64;
// Much longer than the 35 us that a sleeper needs to wake, so that a step in time never sleeps.
constexpr auto kYieldFor = 100us;
// From here on the microsecond that naming the operation for thread dumps costs is lost in the copying.
constexpr std::uint64_t kAnnounceBytes = std::uint64_t{64} << 10;
// A rank may be killed between its message and the bell: nobody sleeps longer than this without looking.
constexpr auto kLookAgain = 100ms;

inline void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

Operation operation_of(const MessageHeader& header) {
  return {.collective = static_cast<Collective>(header.collective),
          .dtype = static_cast<DType>(header.dtype),
          .reduce = static_cast<ReduceOp>(header.reduce),
          .root = header.root,
          .sequence = header.sequence,
          .bytes = header.collective_bytes,
          .label = {}};
}

}  // namespace

SharedMemoryTransport::SharedMemoryTransport(World world, int rank, std::chrono::duration<double> deadline)
    : world_(std::move(world)),
      segment_(world_.segment()),
      me_(segment_->rank(rank)),
      rank_(rank),
      deadline_(deadline),
      // With more ranks than processors the one waited for may need this very processor.
      spins_(segment_->ranks() <= ::sysconf(_SC_NPROCESSORS_ONLN) ? kSpins : 0),
      peers_(static_cast<std::size_t>(segment_->ranks())) {
  const std::size_t depth = segment_->geometry().depth;
  for (int p = 0; p < size(); ++p) {
    if (p == rank_) continue;
    Peer& peer = peers_[static_cast<std::size_t>(p)];
    peer.out = segment_->headers(rank_, p);
    peer.out_chunks = segment_->chunks(rank_, p);
    peer.out_receipt = &segment_->receipt(rank_, p);
    peer.in = segment_->headers(p, rank_);
    peer.in_chunks = segment_->chunks(p, rank_);
    peer.in_receipt = &segment_->receipt(p, rank_);
    // A rank that joins again goes on counting where it left off.
    for (std::size_t i = 0; i < depth; ++i) {
      peer.sent = std::max(peer.sent, peer.out[i].number.load(std::memory_order_acquire));
    }
    peer.known_released = peer.out_receipt->released.load(std::memory_order_acquire);
    peer.received = peer.in_receipt->released.load(std::memory_order_acquire);
  }
  operation_.sequence = me_.sequence.load(std::memory_order_acquire);
}

SharedMemoryTransport::~SharedMemoryTransport() = default;

std::span<std::byte> SharedMemoryTransport::reserve(int p, std::size_t bytes) {
  Peer& peer = peers_[static_cast<std::size_t>(p)];
  const std::uint64_t depth = segment_->geometry().depth;
  if (peer.sent - peer.known_released >= depth) {
    wait(p, [&] {
      peer.known_released = peer.out_receipt->released.load(std::memory_order_seq_cst);  // see ring_bell
      return peer.sent - peer.known_released < depth;
    });
  }
  peer.reserved_bytes = static_cast<std::uint32_t>(bytes);
  const std::uint64_t slot = peer.sent % depth;
  if (bytes <= MessageHeader::kInlineBytes) return {peer.out[slot].inline_data.data(), bytes};
  return {peer.out_chunks + slot * chunk_bytes(), bytes};
}

void SharedMemoryTransport::commit(int p) {
  Peer& peer = peers_[static_cast<std::size_t>(p)];
  MessageHeader& header = peer.out[peer.sent % segment_->geometry().depth];
  header.sequence = operation_.sequence;
  header.collective_bytes = operation_.bytes;
  header.message_bytes = peer.reserved_bytes;
  header.collective = static_cast<std::uint8_t>(operation_.collective);
  header.dtype = static_cast<std::uint8_t>(operation_.dtype);
  header.reduce = static_cast<std::uint8_t>(operation_.reduce);
  header.root = operation_.root;
  ++peer.sent;
  header.number.store(peer.sent, std::memory_order_seq_cst);  // see ring_bell
  bytes_sent_ += peer.reserved_bytes;
  ++messages_sent_;
  segment_->ring_bell(p);
}

std::span<const std::byte> SharedMemoryTransport::receive(int p, std::size_t bytes) {
  Peer& peer = peers_[static_cast<std::size_t>(p)];
  const std::uint64_t slot = peer.received % segment_->geometry().depth;
  const MessageHeader& header = peer.in[slot];
  // >=: a rank that was restarted must not wait for a number that has gone by.
  const auto arrived = [&] { return header.number.load(std::memory_order_seq_cst) >= peer.received + 1; };
  if (!arrived()) wait(p, arrived);
  check_agreement(p, header, bytes);
  if (bytes <= MessageHeader::kInlineBytes) return {header.inline_data.data(), bytes};
  return {peer.in_chunks + slot * chunk_bytes(), bytes};
}

void SharedMemoryTransport::release(int p) {
  Peer& peer = peers_[static_cast<std::size_t>(p)];
  ++peer.received;
  peer.in_receipt->released.store(peer.received, std::memory_order_seq_cst);  // see ring_bell
  segment_->ring_bell(p);
}

void SharedMemoryTransport::begin(const Operation& operation) {
  if (failed_) throw CommError(*failed_);
  const std::uint64_t sequence = operation_.sequence + 1;
  operation_ = operation;
  operation_.sequence = sequence;
  label_.assign(operation.label);  // the caller's text may go while a later failure still names it
  operation_.label = label_;
  segment_->publish(rank_, operation_);
  if (operation_.bytes >= kAnnounceBytes) activity_.emplace(doing(operation_));
  if (segment_->aborted()) check_abort();
}

void SharedMemoryTransport::end() noexcept {
  activity_.reset();
  segment_->publish_idle(rank_);
}

void SharedMemoryTransport::abandon(std::string_view why) noexcept {
  activity_.reset();
  if (failed_) return;
  try {
    failed_.emplace(rank_, rank_, title(operation_), std::string(why));
    world_.abort(rank_, "gave up " + title(operation_) + ": " + std::string(why));
  } catch (...) {  // no memory for the words: the launcher still sees the rank end
  }
}

template <typename Ready>
void SharedMemoryTransport::wait(int peer, const Ready& ready) {
  for (int i = 0; i < spins_; ++i) {
    if (ready()) return;
    pause();
  }
  const auto until = std::chrono::steady_clock::now() + kYieldFor;
  do {
    if (ready()) return;
    ::sched_yield();
  } while (std::chrono::steady_clock::now() < until);
  wait_long(peer, ready);
}

template <typename Ready>
void SharedMemoryTransport::wait_long(int peer, const Ready& ready) {
  show_wait(peer);
  const Deadline give_up(deadline_);
  while (!ready()) {
    check_abort();
    check_peer(peer);
    if (give_up.expired()) fail_late(peer);
    // seq_cst: with the sender's store and its look at `sleeping` one of the two sees the other.
    me_.sleeping.store(1, std::memory_order_seq_cst);
    const std::uint32_t bell = me_.bell.load(std::memory_order_seq_cst);
    if (!ready() && !segment_->aborted()) sleep_on_bell(bell, give_up);
    me_.sleeping.store(0, std::memory_order_relaxed);
  }
  me_.waiting_for.store(0, std::memory_order_relaxed);
  activity_->set(doing(operation_));
}

void SharedMemoryTransport::sleep_on_bell(std::uint32_t bell, Deadline give_up) {
  const Blocker blocker{
      .object = &me_, .type = "creel::comm::Group", .name = wait_text_.data(), .kind = WaitKind::External};
  const auto wake = LockSupport::wait_on(me_.bell, bell, blocker, std::min(give_up, Deadline(kLookAgain)),
                                         LockSupport::Scope::Shared);
  if (wake == LockSupport::Wake::Interrupted) {
    me_.sleeping.store(0, std::memory_order_relaxed);
    fail_interrupted();
  }
}

void SharedMemoryTransport::show_wait(int peer) {
  me_.waiting_for.store(peer + 1, std::memory_order_release);
  const std::string text = doing(operation_, peer);
  const std::size_t length = std::min(text.size(), wait_text_.size() - 1);
  std::memcpy(wait_text_.data(), text.data(), length);
  wait_text_[length] = '\0';
  if (activity_) {
    activity_->set(text);
  } else {
    activity_.emplace(text);
  }
}

void SharedMemoryTransport::check_agreement(int peer, const MessageHeader& header, std::size_t bytes) {
  const Operation theirs = operation_of(header);
  if (!theirs.agrees_with(operation_)) fail_disagreement(peer, theirs);
  if (header.message_bytes != bytes) {
    // The same call, another algorithm: the ranks were given different options.
    fail(peer,
         "it sent " + std::to_string(header.message_bytes) + " bytes in " + title(operation_) +
             " where rank " + std::to_string(rank_) + " expected " + std::to_string(bytes),
         "rank " + std::to_string(peer) + " sent a message of " + std::to_string(header.message_bytes) +
             " bytes where " + std::to_string(bytes) + " were due; do all ranks use the same algorithm?");
  }
}

void SharedMemoryTransport::check_peer(int peer) {
  // It may wait for us in a call that differs from ours; then no message will ever tell.
  const RankSnapshot seen = segment_->snapshot(peer);
  if (seen.active && seen.operation.sequence == operation_.sequence &&
      !seen.operation.agrees_with(operation_)) {
    fail_disagreement(peer, seen.operation);
  }
}

void SharedMemoryTransport::check_abort() {
  const std::optional<Abort> abort = world_.aborted();
  if (!abort) return;
  std::string message = "the run was aborted: " + abort->reason;
  if (abort->rank == rank_) message = "the other ranks gave this one up: it " + abort->reason;
  if (abort->rank >= 0 && abort->rank != rank_) {
    message = "rank " + std::to_string(abort->rank) + " was lost: " + abort->reason;
  }
  failed_.emplace(rank_, abort->rank, title(operation_), message);
  throw CommError(*failed_);
}

void SharedMemoryTransport::fail(int at_fault, const std::string& reason, const std::string& message) {
  failed_.emplace(rank_, at_fault, title(operation_), message);
  world_.abort(at_fault, reason);
  throw CommError(*failed_);
}

void SharedMemoryTransport::fail_disagreement(int peer, const Operation& theirs) {
  const std::string us = "rank " + std::to_string(rank_);
  fail(peer, "it is in " + describe(theirs) + ", " + us + " in " + describe(operation_),
       us + " is in " + describe(operation_) + ", rank " + std::to_string(peer) + " in " + describe(theirs) +
           "; all ranks must make the same calls in the same order");
}

void SharedMemoryTransport::fail_late(int peer) {
  const Blame blame = find_blame(*segment_, rank_, peer, operation_.sequence, deadline_);
  fail(blame.rank, blame.what + " (rank " + std::to_string(rank_) + " waited in " + title(operation_) + ")",
       "rank " + std::to_string(blame.rank) + " " + blame.what);
}

void SharedMemoryTransport::fail_interrupted() {
  Thread::interrupted();  // clears it, as an InterruptedError promises
  failed_.emplace(rank_, rank_, title(operation_), "interrupted");
  world_.abort(rank_, "was interrupted in " + title(operation_));
  throw InterruptedError("rank " + std::to_string(rank_) + ": " + title(operation_) + ": interrupted");
}

}  // namespace creel::comm::detail
