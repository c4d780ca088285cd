#pragma once

#include <creel/runtime/fd_stream.hpp>
#include <creel/runtime/socket_address.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace creel {

/// One side of a TCP connection; java.net.Socket.
///
///     creel::TcpSocket socket = creel::TcpSocket::connect("example.org", 80, 5s);
///     socket.set_no_delay(true);
///     socket.write_all("ping");
///
/// See ByteStream for what blocks, and who may use it at once.
class TcpSocket final : public FdStream {
 public:
  TcpSocket() noexcept = default;

  /// Waits for a connection to `host` (a name or a numeric address). A name's addresses are tried in turn,
  /// each with its share of the time left. Throws IoError that names the address and what the system said of
  /// the last one, TimeoutError, InterruptedError. Looking up a name takes a thread of its own, which a
  /// deadline or an interrupt leaves behind.
  static TcpSocket connect(const std::string& host, std::uint16_t port, Deadline deadline = {});

  SocketAddress local_address() const;
  const SocketAddress& peer_address() const noexcept { return peer_; }

  /// Sends small pieces at once (TCP_NODELAY) instead of waiting to fill packets. Off by default.
  void set_no_delay(bool on);
  /// Asks a silent peer now and then whether it is still there (SO_KEEPALIVE): after `idle`, then every
  /// `interval`, `probes` times. Off by default.
  void set_keep_alive(bool on);
  void set_keep_alive(std::chrono::seconds idle, std::chrono::seconds interval, int probes);
  /// How long the system goes on sending what was written after close(); zero: not at all, the peer sees a
  /// reset. nullopt, the default: as long as it takes, in the background.
  void set_linger(std::optional<std::chrono::seconds> time);
  /// Bytes that the system keeps for what was not sent (not read) yet; it may take another number.
  void set_send_buffer_size(int bytes);
  void set_receive_buffer_size(int bytes);

 private:
  friend class TcpListener;
  TcpSocket(UniqueFd fd, SocketAddress peer);

  SocketAddress peer_;
};

}  // namespace creel
