#pragma once

#include <creel/comm/operation.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace creel::comm {

/// Messages between the ranks of a group: what an algorithm is written against. Between each two ranks
/// messages arrive whole and in order, and both sides know the size of each one.
///
/// Sender and receiver work in the transport's own memory, so that data is copied (or reduced) once on each
/// side:
///
///     std::span<std::byte> room = transport.reserve(right, bytes);   …fill…   transport.commit(right);
///     std::span<const std::byte> message = transport.receive(left, bytes);   …use… transport.release(left);
///
/// reserve() and receive() wait, and throw what Group documents.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  virtual int rank() const noexcept = 0;
  virtual int size() const noexcept = 0;
  /// Largest message, in bytes; a multiple of 64.
  virtual std::size_t chunk_bytes() const noexcept = 0;
  /// How many messages to one peer may be under way before reserve() waits for it; at least 2.
  virtual int depth() const noexcept = 0;

  virtual std::span<std::byte> reserve(int peer, std::size_t bytes) = 0;
  virtual void commit(int peer) = 0;
  /// The next message from `peer`, which must have `bytes` bytes. At most one per peer is held at a time.
  virtual std::span<const std::byte> receive(int peer, std::size_t bytes) = 0;
  virtual void release(int peer) = 0;

  /// Everything between begin() and end() belongs to `operation`; begin numbers it.
  virtual void begin(const Operation& operation) = 0;
  virtual void end() noexcept = 0;
  /// In place of end() when the operation failed by something else than the transport: the others must not
  /// wait for it.
  virtual void abandon(std::string_view why) noexcept = 0;

  /// Sent so far, of payload.
  virtual std::uint64_t bytes_sent() const noexcept = 0;
  virtual std::uint64_t messages_sent() const noexcept = 0;
};

}  // namespace creel::comm
