#include "descriptor.hpp"
#include "system_call.hpp"
#include "unix_address.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/unix_listener.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace creel {
namespace {

using detail::ReadyOutcome;

// Removes a socket of ours that refuses connections: its program was killed.
bool remove_stale(const sockaddr_un& address) noexcept {
  struct stat status {};
  if (::lstat(address.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode) || status.st_uid != ::geteuid()) {
    return false;
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int error =
      -detail::connect_to(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return error == ECONNREFUSED && ::unlink(address.sun_path) == 0;
}

}  // namespace

UnixListener::UnixListener(const std::filesystem::path& path, const Options& options) : path_(path) {
  const sockaddr_un address = detail::unix_address(path);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  // The mode of the socket is that of the file which bind makes: nobody else can connect in between.
  if (!fd || ::fchmod(fd.get(), options.mode) != 0) throw IoError("listen at", path.native(), errno);
  bool bound = ::bind(fd.get(), generic, sizeof address) == 0;
  if (!bound && errno == EADDRINUSE && options.replace_stale) {
    bound = remove_stale(address) && ::bind(fd.get(), generic, sizeof address) == 0;
    if (!bound) errno = EADDRINUSE;
  }
  if (!bound) throw IoError("listen at", path.native(), errno);
  // The umask took bits away from the mode; those it asked for come back before anybody can connect.
  struct stat status {};
  if (::chmod(address.sun_path, options.mode) != 0 || ::lstat(address.sun_path, &status) != 0 ||
      ::listen(fd.get(), options.backlog) != 0) {
    const int error = errno;
    ::unlink(address.sun_path);
    throw IoError("listen at", path.native(), error);
  }
  file_ = {status.st_dev, status.st_ino, ::getpid()};
  waiting_for_ = "a connection at " + path.native();
  descriptor_ = std::make_unique<detail::Descriptor>(std::move(fd), "creel::UnixListener", path.native());
}

UnixListener::UnixListener(UnixListener&&) noexcept = default;

UnixListener& UnixListener::operator=(UnixListener&& other) noexcept {
  if (this == &other) return *this;
  close();
  path_ = std::move(other.path_);
  waiting_for_ = std::move(other.waiting_for_);
  file_ = other.file_;
  descriptor_ = std::move(other.descriptor_);
  return *this;
}

UnixListener::~UnixListener() { close(); }

std::optional<UnixSocket> UnixListener::accept(Deadline deadline) {
  if (descriptor_ == nullptr) return std::nullopt;
  int accepted = -1;
  const ReadyOutcome outcome =
      descriptor_->when_ready(detail::Ready::Read, waiting_for_.c_str(), deadline, [&](int fd) {
        sockaddr_un peer{};
        socklen_t size = sizeof peer;
        accepted = detail::accept_one(fd, reinterpret_cast<sockaddr*>(&peer), &size);
        return accepted != -EAGAIN;
      });
  if (outcome == ReadyOutcome::Interrupted)
    throw InterruptedError("interrupted while waiting for " + waiting_for_);
  if (outcome != ReadyOutcome::Ready) return std::nullopt;
  if (accepted < 0) throw IoError("accept a connection", path_.native(), -accepted);
  // A client's socket rarely has an address of its own: who it is, the credentials say.
  return UnixSocket(UniqueFd(accepted), "a client of " + path_.native());
}

void UnixListener::close() noexcept {
  if (descriptor_ == nullptr || descriptor_->is_closed()) return;
  struct stat status {};
  if (file_.owner == ::getpid() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == file_.device &&
      status.st_ino == file_.inode) {
    ::unlink(path_.c_str());
  }
  descriptor_->close();
}

bool UnixListener::is_closed() const noexcept { return descriptor_ == nullptr || descriptor_->is_closed(); }

}  // namespace creel
