#include "internet_address.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/future.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread.hpp>

#include <netdb.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

namespace creel {

std::string to_string(const SocketAddress& address) {
  return detail::describe_target(address.host, address.port);
}

namespace detail {
namespace {

std::vector<InternetAddress> look_up(const std::string& host, std::uint16_t port, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  const int error_number = errno;
  if (error == EAI_NONAME && (flags & AI_NUMERICHOST) != 0) return {};
  if (error != 0) {
    const std::string what = "cannot find host " + host + ": " + ::gai_strerror(error);
    if (error == EAI_SYSTEM) throw IoError("cannot find host", host, error_number);
    throw Error(what, ErrorCode::Io);
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, ::freeaddrinfo);
  std::vector<InternetAddress> addresses;
  for (const addrinfo* each = found; each != nullptr; each = each->ai_next) {
    InternetAddress& address = addresses.emplace_back();
    std::memcpy(&address.storage, each->ai_addr, each->ai_addrlen);
    address.size = each->ai_addrlen;
  }
  return addresses;
}

}  // namespace

std::string describe_target(const std::string& host, std::uint16_t port) {
  const bool is_v6 = host.find(':') != std::string::npos;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

SocketAddress InternetAddress::to_socket_address() const {
  std::array<char, NI_MAXHOST> host{};
  if (::getnameinfo(get(), size, host.data(), host.size(), nullptr, 0, NI_NUMERICHOST) != 0) return {};
  // Both families have the port at the same place.
  in_port_t port = 0;
  std::memcpy(&port, reinterpret_cast<const char*>(&storage) + offsetof(sockaddr_in, sin_port), sizeof port);
  return {host.data(), ntohs(port)};
}

std::vector<InternetAddress> resolve(const std::string& host, std::uint16_t port, bool to_listen,
                                     Deadline deadline) {
  const int flags = to_listen ? AI_PASSIVE : 0;
  if (auto numeric = look_up(host, port, flags | AI_NUMERICHOST); !numeric.empty()) return numeric;
  // getaddrinfo can be neither interrupted nor given a deadline; the thread that is in it can be left behind.
  auto promise = std::make_shared<Promise<std::vector<InternetAddress>>>();
  auto future = promise->future();
  Thread::of_platform().name("look up " + host).daemon().start([=] {
    try {
      promise->set_value(blocking("getaddrinfo", [&] { return look_up(host, port, flags | AI_ADDRCONFIG); }));
    } catch (...) {
      promise->set_exception(std::current_exception());
    }
  });
  if (!future.wait(deadline)) throw TimeoutError("host " + host + " was not found before the deadline");
  return std::move(future).get();
}

}  // namespace detail
}  // namespace creel
