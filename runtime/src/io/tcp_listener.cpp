#include "descriptor.hpp"
#include "internet_address.hpp"
#include "socket_option.hpp"
#include "system_call.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/tcp_listener.hpp>

#include <cerrno>

namespace creel {
namespace {

using detail::InternetAddress;
using detail::ReadyOutcome;

/// A listening socket; if there is none, errno says why.
UniqueFd listen_at(const InternetAddress& address, const TcpListener::Options& options) {
  UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int reuse_address = options.reuse_address;
  const int reuse_port = options.reuse_port;
  const bool listens =
      fd && ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &reuse_address, sizeof reuse_address) == 0 &&
      ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof reuse_port) == 0 &&
      ::bind(fd.get(), address.get(), address.size) == 0 && ::listen(fd.get(), options.backlog) == 0;
  if (listens) return fd;
  const int error = errno;
  fd.reset();
  errno = error;
  return fd;
}

}  // namespace

TcpListener::TcpListener(const std::string& host, std::uint16_t port, const Options& options) {
  const std::string wanted = detail::describe_target(host, port);
  const InternetAddress address = detail::resolve(host, port, true, Deadline::never()).front();
  UniqueFd fd = listen_at(address, options);
  if (!fd) throw IoError("listen at", wanted, errno);
  InternetAddress bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(fd.get(), bound.get(), &bound.size) != 0) throw IoError("listen at", wanted, errno);
  address_ = bound.to_socket_address();
  waiting_for_ = "a connection at " + to_string(address_);
  descriptor_ =
      std::make_unique<detail::Descriptor>(std::move(fd), "creel::TcpListener", to_string(address_));
}

TcpListener::TcpListener(TcpListener&&) noexcept = default;
TcpListener& TcpListener::operator=(TcpListener&&) noexcept = default;
TcpListener::~TcpListener() = default;

std::optional<TcpSocket> TcpListener::accept(Deadline deadline) {
  if (descriptor_ == nullptr) return std::nullopt;
  int accepted = -1;
  InternetAddress peer;
  const ReadyOutcome outcome =
      descriptor_->when_ready(detail::Ready::Read, waiting_for_.c_str(), deadline, [&](int fd) {
        peer.size = sizeof peer.storage;
        accepted = detail::accept_one(fd, peer.get(), &peer.size);
        return accepted != -EAGAIN;
      });
  if (outcome == ReadyOutcome::Interrupted)
    throw InterruptedError("interrupted while waiting for " + waiting_for_);
  if (outcome != ReadyOutcome::Ready) return std::nullopt;
  if (accepted < 0) throw IoError("accept a connection", to_string(address_), -accepted);
  return TcpSocket(UniqueFd(accepted), peer.to_socket_address());
}

void TcpListener::close() noexcept {
  if (descriptor_ != nullptr) descriptor_->close();
}

bool TcpListener::is_closed() const noexcept { return descriptor_ == nullptr || descriptor_->is_closed(); }

}  // namespace creel
