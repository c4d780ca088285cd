#pragma once

#include "shared_segment.hpp"

#include <creel/comm/transport.hpp>
#include <creel/comm/world.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace creel::comm::detail {

/// Messages through the mailboxes of a World: per pair of ranks a ring of `depth` slots, each a header line
/// and a chunk. The sender fills the chunk and stores the message's number into the header; the receiver
/// works in the chunk where it lies, then counts it off on its receipt.
class SharedMemoryTransport final : public Transport {
 public:
  SharedMemoryTransport(World world, int rank, std::chrono::duration<double> deadline);
  ~SharedMemoryTransport() override;

  int rank() const noexcept override { return rank_; }
  int size() const noexcept override { return static_cast<int>(peers_.size()); }
  std::size_t chunk_bytes() const noexcept override { return segment_->geometry().chunk_bytes; }
  int depth() const noexcept override { return static_cast<int>(segment_->geometry().depth); }

  std::span<std::byte> reserve(int peer, std::size_t bytes) override;
  void commit(int peer) override;
  std::span<const std::byte> receive(int peer, std::size_t bytes) override;
  void release(int peer) override;

  void begin(const Operation& operation) override;
  void end() noexcept override;
  void abandon(std::string_view why) noexcept override;

  std::uint64_t bytes_sent() const noexcept override { return bytes_sent_; }
  std::uint64_t messages_sent() const noexcept override { return messages_sent_; }

 private:
  // Both directions to one peer. The counters here are this rank's own; the shared ones are read when these
  // run out.
  struct Peer {
    MessageHeader* out = nullptr;
    std::byte* out_chunks = nullptr;
    const Receipt* out_receipt = nullptr;
    std::uint64_t sent = 0;
    std::uint64_t known_released = 0;
    std::uint32_t reserved_bytes = 0;

    const MessageHeader* in = nullptr;
    const std::byte* in_chunks = nullptr;
    Receipt* in_receipt = nullptr;
    std::uint64_t received = 0;
  };

  template <typename Ready>
  void wait(int peer, const Ready& ready);
  template <typename Ready>
  void wait_long(int peer, const Ready& ready);
  void sleep_on_bell(std::uint32_t bell, Deadline give_up);
  void show_wait(int peer);

  void check_agreement(int peer, const MessageHeader& header, std::size_t bytes);
  void check_peer(int peer);
  void check_abort();
  [[noreturn]] void fail(int at_fault, const std::string& reason, const std::string& message);
  [[noreturn]] void fail_disagreement(int peer, const Operation& theirs);
  [[noreturn]] void fail_late(int peer);
  [[noreturn]] void fail_interrupted();

  World world_;
  std::shared_ptr<SharedSegment> segment_;
  RankBlock& me_;
  int rank_;
  std::chrono::duration<double> deadline_;
  int spins_;
  std::vector<Peer> peers_;

  Operation operation_;
  std::string label_;
  std::optional<CommError> failed_;
  std::optional<Activity> activity_;
  std::array<char, 120> wait_text_{};
  std::uint64_t bytes_sent_ = 0;
  std::uint64_t messages_sent_ = 0;
};

}  // namespace creel::comm::detail
