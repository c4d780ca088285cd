#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace creel {

/// Where a TCP socket is: a numeric IPv4 or IPv6 address and a port.
struct SocketAddress {
  std::string host;  ///< "127.0.0.1", "::1", "fe80::1%eth0"
  std::uint16_t port = 0;

  friend auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
};

/// "127.0.0.1:5000", "[::1]:5000".
std::string to_string(const SocketAddress& address);

}  // namespace creel
