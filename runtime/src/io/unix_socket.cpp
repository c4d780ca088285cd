#include "descriptor.hpp"
#include "system_call.hpp"
#include "unix_address.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unix_socket.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace creel {

using namespace std::chrono_literals;

sockaddr_un detail::unix_address(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& text = path.native();
  if (text.empty()) throw IoError("use a Unix socket's path", "", ENOENT);
  if (text.size() >= sizeof address.sun_path) throw IoError("use a Unix socket's path", text, ENAMETOOLONG);
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

UnixSocket::UnixSocket(UniqueFd fd, std::string peer)
    : FdStream(std::move(fd), "creel::UnixSocket", std::move(peer)) {}

UnixSocket UnixSocket::connect(const std::filesystem::path& path, Deadline deadline) {
  const sockaddr_un address = detail::unix_address(path);
  const int made = detail::open_socket(AF_UNIX);
  if (made < 0) throw IoError("connect to", path.native(), -made);
  UniqueFd fd(made);
  // While the listener's queue is full the answer is EAGAIN, and nothing tells when it no longer is.
  for (auto pause = 1ms;; pause = std::min(2 * pause, 50ms)) {
    const int error =
        -detail::connect_to(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    if (error == 0) return {std::move(fd), path.native()};
    if (error != EAGAIN && error != EINTR) throw IoError("connect to", path.native(), error);
    if (deadline.expired())
      throw TimeoutError("the queue of " + path.native() + " was full until the deadline");
    Thread::sleep(std::min<Deadline>(pause, deadline));
  }
}

std::pair<UnixSocket, UnixSocket> UnixSocket::pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
    throw IoError("make a pair of sockets", "", errno);
  }
  UniqueFd first(ends[0]);
  UniqueFd second(ends[1]);
  return {UnixSocket(std::move(first), "socket pair"), UnixSocket(std::move(second), "socket pair")};
}

PeerCredentials UnixSocket::peer_credentials() const {
  ucred peer{};
  socklen_t size = sizeof peer;
  int error = EBADF;
  descriptor().with_fd(
      [&](int fd) { error = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? 0 : errno; });
  if (error != 0) throw IoError("read the peer's credentials", name(), error);
  return {peer.pid, peer.uid, peer.gid};
}

}  // namespace creel
