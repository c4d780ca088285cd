#pragma once

#include <creel/comm/operation.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

// The bytes of a World, in order:
//
//   WorldHeader | RankBlock × ranks | Receipt × pairs | MessageHeader × pairs × depth | chunks × pairs ×
//   depth
//
// A pair is an ordered couple (sender, receiver). All processes run the same build, so that the layout needs
// no byte order; `version` still tells a stale program apart. Each line of 64 bytes has one writer.
namespace creel::comm::detail {

inline constexpr std::size_t kLine = 64;
inline constexpr std::size_t kPage = 4096;
inline constexpr std::array<char, 8> kMagic{'c', 'r', 'e', 'e', 'l', 'w', 'l', 'd'};
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kReasonBytes = 256;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
                  std::atomic<std::uint32_t>::is_always_lock_free,
              "a lock inside an atomic would not work across processes");

struct WorldHeader {
  std::array<char, 8> magic;
  std::uint32_t version;
  std::uint32_t ranks;
  std::uint32_t depth;
  std::uint32_t reserved;
  std::uint64_t chunk_bytes;
  std::uint64_t total_bytes;

  alignas(
      kLine) std::atomic<std::uint32_t> aborted;  // 0: no; else lost rank + 2 (so that rank -1 has a number)
  std::atomic<std::uint32_t> reason_ready;
  alignas(kLine) std::array<char, kReasonBytes> reason;
  alignas(kLine) std::atomic<std::int32_t> stop_signal;
};

// What a rank is doing, published as numbers and put into words by the reader: a collective of 8 bytes takes
// less time than formatting a line would. A seqlock: `version` is odd while the rank writes.
struct RankBlock {
  alignas(kLine) std::atomic<std::uint32_t> version;
  std::atomic<std::uint32_t> kind;  // active << 31 | collective << 24 | dtype << 16 | reduce << 8 | root
  std::atomic<std::uint64_t> sequence;
  std::atomic<std::uint64_t> bytes;
  std::array<std::atomic<std::uint64_t>, 5> label;       // 40 bytes of text, padded with zeros
  alignas(kLine) std::atomic<std::int32_t> waiting_for;  // rank + 1; 0: none
  std::atomic<std::int32_t> pid;
  // The bell on which the rank sleeps; the one line that others write.
  alignas(kLine) std::atomic<std::uint32_t> bell;
  std::atomic<std::uint32_t> sleeping;
};

inline constexpr std::uint32_t kActive = 1u << 31;

// How many messages of a pair the receiver has let go of.
struct Receipt {
  alignas(kLine) std::atomic<std::uint64_t> released;
};

// One slot of a pair. A short message lies in the header's own line: one line crosses from core to core, not
// two.
struct MessageHeader {
  static constexpr std::size_t kInlineBytes = 32;

  alignas(kLine) std::atomic<std::uint64_t> number;  // of the message, from 1; stored last
  std::uint64_t sequence;
  std::uint64_t collective_bytes;
  std::uint32_t message_bytes;
  std::uint8_t collective;
  std::uint8_t dtype;
  std::uint8_t reduce;
  std::uint8_t root;
  std::array<std::byte, kInlineBytes> inline_data;
};
static_assert(sizeof(MessageHeader) == kLine);

// Where everything lies, from three numbers.
struct WorldGeometry {
  std::size_t ranks = 0;
  std::size_t depth = 0;
  std::size_t chunk_bytes = 0;

  std::size_t pairs() const { return ranks * (ranks - 1); }
  std::size_t pair(int sender, int receiver) const {
    const auto from = static_cast<std::size_t>(sender);
    const auto to = static_cast<std::size_t>(receiver);
    return from * (ranks - 1) + (to < from ? to : to - 1);
  }
  std::size_t ranks_offset() const { return sizeof(WorldHeader); }
  std::size_t receipts_offset() const { return ranks_offset() + ranks * sizeof(RankBlock); }
  std::size_t headers_offset() const { return receipts_offset() + pairs() * sizeof(Receipt); }
  std::size_t chunks_offset() const {
    const std::size_t end = headers_offset() + pairs() * depth * sizeof(MessageHeader);
    return (end + kPage - 1) / kPage * kPage;
  }
  std::size_t total_bytes() const { return chunks_offset() + pairs() * depth * chunk_bytes; }
};

}  // namespace creel::comm::detail
