#include "descriptor.hpp"
#include "internet_address.hpp"
#include "socket_option.hpp"
#include "system_call.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/tcp_socket.hpp>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>

namespace creel {
namespace {

using detail::InternetAddress;
using detail::ReadyOutcome;

// Part of the time for each address that is left to try, so that one which never answers costs only its own.
Deadline share_of(Deadline deadline, std::size_t attempts_left) {
  if (deadline.is_never()) return deadline;
  return deadline.remaining() / static_cast<Deadline::Clock::rep>(attempts_left);
}

}  // namespace

TcpSocket::TcpSocket(UniqueFd fd, SocketAddress peer)
    : FdStream(std::move(fd), "creel::TcpSocket", to_string(peer)), peer_(std::move(peer)) {}

TcpSocket TcpSocket::connect(const std::string& host, std::uint16_t port, Deadline deadline) {
  const std::vector<InternetAddress> addresses = detail::resolve(host, port, false, deadline);
  const std::string what = "connect to " + detail::describe_target(host, port);
  int error = 0;
  std::string tried;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const InternetAddress& address = addresses[i];
    const int fd = detail::open_socket(address.storage.ss_family);
    if (fd < 0) throw IoError(what, "", -fd);
    TcpSocket socket(UniqueFd(fd), address.to_socket_address());
    const std::string waiting_for = "a connection to " + socket.name();
    const ReadyOutcome outcome = socket.descriptor().when_ready(
        detail::Ready::Write, waiting_for.c_str(), share_of(deadline, addresses.size() - i), [&](int its) {
          // The first call begins, a later one is told how it ended.
          error = -detail::connect_to(its, address.get(), address.size);
          return error != EINPROGRESS && error != EALREADY && error != EINTR;
        });
    if (outcome == ReadyOutcome::Interrupted)
      throw InterruptedError("interrupted while waiting for " + waiting_for);
    if (outcome == ReadyOutcome::TimedOut) error = ETIMEDOUT;
    if (error == 0 || error == EISCONN) return socket;
    tried = socket.name();
  }
  if (deadline.expired() && error == ETIMEDOUT)
    throw TimeoutError("no answer from " + tried + " before the deadline");
  throw IoError(what, tried, error);
}

SocketAddress TcpSocket::local_address() const {
  InternetAddress address;
  address.size = sizeof address.storage;
  int error = EBADF;
  descriptor().with_fd(
      [&](int fd) { error = ::getsockname(fd, address.get(), &address.size) == 0 ? 0 : errno; });
  if (error != 0) throw IoError("read the local address", name(), error);
  return address.to_socket_address();
}

void TcpSocket::set_no_delay(bool on) {
  detail::set_option(descriptor(), IPPROTO_TCP, TCP_NODELAY, "set TCP_NODELAY", int{on});
}

void TcpSocket::set_keep_alive(bool on) {
  detail::set_option(descriptor(), SOL_SOCKET, SO_KEEPALIVE, "set SO_KEEPALIVE", int{on});
}

void TcpSocket::set_keep_alive(std::chrono::seconds idle, std::chrono::seconds interval, int probes) {
  detail::set_option(descriptor(), IPPROTO_TCP, TCP_KEEPIDLE, "set TCP_KEEPIDLE",
                     static_cast<int>(idle.count()));
  detail::set_option(descriptor(), IPPROTO_TCP, TCP_KEEPINTVL, "set TCP_KEEPINTVL",
                     static_cast<int>(interval.count()));
  detail::set_option(descriptor(), IPPROTO_TCP, TCP_KEEPCNT, "set TCP_KEEPCNT", probes);
  set_keep_alive(true);
}

void TcpSocket::set_linger(std::optional<std::chrono::seconds> time) {
  const linger value{time ? 1 : 0, time ? static_cast<int>(time->count()) : 0};
  detail::set_option(descriptor(), SOL_SOCKET, SO_LINGER, "set SO_LINGER", value);
}

void TcpSocket::set_send_buffer_size(int bytes) {
  detail::set_option(descriptor(), SOL_SOCKET, SO_SNDBUF, "set SO_SNDBUF", bytes);
}

void TcpSocket::set_receive_buffer_size(int bytes) {
  detail::set_option(descriptor(), SOL_SOCKET, SO_RCVBUF, "set SO_RCVBUF", bytes);
}

}  // namespace creel
