#pragma once

#include <creel/runtime/fd_stream.hpp>

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <utility>

namespace creel {

/// Who is on the other side of a Unix socket, as the kernel noted it when the connection was made.
struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};

/// One side of a connection between processes of one machine; a SocketChannel of java.net.UnixDomain….
///
///     creel::UnixSocket socket = creel::UnixSocket::connect("/run/desk.sock", 5s);
///     if (socket.peer_credentials().uid != ::geteuid()) …
///
/// See ByteStream for what blocks, and who may use it at once.
class UnixSocket final : public FdStream {
 public:
  UnixSocket() noexcept = default;

  /// Waits for a connection to the listener at `path`. Throws IoError naming the path (ENOENT, ECONNREFUSED,
  /// EACCES, ENAMETOOLONG past 107 bytes), TimeoutError, InterruptedError.
  static UnixSocket connect(const std::filesystem::path& path, Deadline deadline = {});
  /// Two sockets that are connected with each other.
  static std::pair<UnixSocket, UnixSocket> pair();

  PeerCredentials peer_credentials() const;

 private:
  friend class UnixListener;
  UnixSocket(UniqueFd fd, std::string peer);
};

}  // namespace creel
