#include "system_call.hpp"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

namespace creel::detail {
namespace {

// A pipe has no MSG_NOSIGNAL: the signal is held back, and taken out again if the write raised it.
ssize_t write_to_pipe(int fd, std::span<const std::byte> data) noexcept {
  sigset_t broken_pipe;
  sigset_t before;
  sigset_t pending;
  ::sigemptyset(&broken_pipe);
  ::sigaddset(&broken_pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
  ::sigpending(&pending);
  const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
  ssize_t written = 0;
  do {
    written = ::write(fd, data.data(), data.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) written = -errno;
  if (written == -EPIPE && !was_pending) {
    const timespec at_once{};
    while (::sigtimedwait(&broken_pipe, nullptr, &at_once) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return written;
}

// Errors of the connection that would have been accepted, not of the listener: accept(2), "Error handling".
bool is_the_peers(int error) noexcept {
  switch (error) {
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EINTR:
      return true;
    default:
      return false;
  }
}

}  // namespace

ssize_t read_some(int fd, std::span<std::byte> buffer) noexcept {
  for (;;) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got >= 0) return got;
    if (errno != EINTR) return -errno;
  }
}

ssize_t write_some(int fd, std::span<const std::byte> data, bool is_socket) noexcept {
  if (!is_socket) return write_to_pipe(fd, data);
  for (;;) {
    const ssize_t written = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (written >= 0) return written;
    if (errno != EINTR) return -errno;
  }
}

int open_socket(int family) noexcept {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  return fd >= 0 ? fd : -errno;
}

int accept_one(int fd, sockaddr* peer, socklen_t* size) noexcept {
  for (;;) {
    socklen_t room = *size;
    const int accepted = ::accept4(fd, peer, &room, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted >= 0) {
      *size = room;
      return accepted;
    }
    if (!is_the_peers(errno)) return -errno;
  }
}

int connect_to(int fd, const sockaddr* peer, socklen_t size) noexcept {
  return ::connect(fd, peer, size) == 0 ? 0 : -errno;  // after EINTR it goes on: the same as EINPROGRESS
}

}  // namespace creel::detail
