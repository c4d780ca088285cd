#pragma once

#include <creel/runtime/detail/accept_iterator.hpp>
#include <creel/runtime/tcp_socket.hpp>

#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

namespace creel {

/// Takes TCP connections; java.net.ServerSocket, with an end like a queue's.
///
///     creel::TcpListener listener("127.0.0.1", 0);
///     for (creel::TcpSocket& client : listener) {          // ends with close()
///       creel::Thread::of_virtual().start([client = std::move(client)]() mutable {
///         client.transfer_to(client);
///       });
///     }
///
/// Several threads may accept at once. Move-only; nobody may use it while it is moved from or destroyed.
class TcpListener {
 public:
  struct Options {
    /// Connections that wait to be accepted, at most net.core.somaxconn. One more is established for its
    /// client, which may then wait for a server that has never heard of it.
    int backlog = 4096;
    bool reuse_address = true;  ///< bind although connections of an earlier program are still ending
    bool reuse_port = false;    ///< share the port with other listeners that say so, too
  };

  /// Listens at `host` (a numeric address or a name; "0.0.0.0" and "::" are all interfaces) and `port` (0:
  /// one that is free, see local_address()). Throws IoError that names both.
  TcpListener(const std::string& host, std::uint16_t port) : TcpListener(host, port, Options()) {}
  TcpListener(const std::string& host, std::uint16_t port, const Options& options);
  TcpListener(TcpListener&&) noexcept;
  TcpListener& operator=(TcpListener&&) noexcept;
  ~TcpListener();

  /// Waits for a connection; nullopt once the listener is closed, or if none comes before `deadline`. Throws
  /// InterruptedError, and IoError if the system has no descriptor or memory for it (EMFILE, ENFILE, ENOBUFS,
  /// ENOMEM): the connection then stays in the queue, and the listener can be used on.
  std::optional<TcpSocket> accept(Deadline deadline = {});

  /// Wakes those who wait in accept(). Connections that nobody has accepted are reset. May be called again.
  void close() noexcept;
  bool is_closed() const noexcept;

  const SocketAddress& local_address() const noexcept { return address_; }
  std::uint16_t port() const noexcept { return address_.port; }

  using Iterator = detail::AcceptIterator<TcpListener, TcpSocket>;
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  SocketAddress address_;
  std::string waiting_for_;  // as dumps show it
  std::unique_ptr<detail::Descriptor> descriptor_;
};

}  // namespace creel
