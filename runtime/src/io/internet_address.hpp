#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/socket_address.hpp>

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

namespace creel::detail {

/// An address as the system has it.
struct InternetAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
  SocketAddress to_socket_address() const;
};

/// "name:port" or "[v6]:port", for messages.
std::string describe_target(const std::string& host, std::uint16_t port);

/// The addresses of `host`, at least one, in the order in which they should be tried. A numeric one is
/// answered at once; a name is looked up on a thread of its own. Throws IoError, TimeoutError,
/// InterruptedError.
std::vector<InternetAddress> resolve(const std::string& host, std::uint16_t port, bool to_listen,
                                     Deadline deadline);

}  // namespace creel::detail
