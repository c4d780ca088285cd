#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <span>

// System calls that answer with their result or -errno, repeated when a signal interrupts them.
//
// Out of line on purpose: compilers take the address of errno to be constant within a function, and a virtual
// thread that waited in between may go on under another carrier, with another errno.

namespace creel::detail {

[[gnu::noinline]] ssize_t read_some(int fd, std::span<std::byte> buffer) noexcept;
/// Without SIGPIPE, whatever the program does about that signal.
[[gnu::noinline]] ssize_t write_some(int fd, std::span<const std::byte> data, bool is_socket) noexcept;
/// A stream socket, non-blocking and close-on-exec.
[[gnu::noinline]] int open_socket(int family) noexcept;
/// A connection that is there, non-blocking and close-on-exec; those that failed in the queue are passed
/// over.
[[gnu::noinline]] int accept_one(int fd, sockaddr* peer, socklen_t* size) noexcept;
[[gnu::noinline]] int connect_to(int fd, const sockaddr* peer, socklen_t size) noexcept;

}  // namespace creel::detail
