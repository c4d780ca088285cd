#pragma once

#include <creel/runtime/detail/accept_iterator.hpp>
#include <creel/runtime/unix_socket.hpp>

#include <sys/types.h>

#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

namespace creel {

/// Takes connections from processes of this machine at a path of the file system, with an end like a queue's.
///
///     creel::UnixListener listener("/run/desk.sock");
///     while (std::optional<creel::UnixSocket> client = listener.accept()) serve(*std::move(client));
///
/// The path can be connected to by this user alone (mode 0600) unless Options say otherwise, and is removed
/// when the listener closes. Several threads may accept at once. Move-only.
class UnixListener {
 public:
  struct Options {
    mode_t mode = 0600;
    int backlog = 1024;
    /// Take the place of a socket at `path` that nobody listens on any more, as a killed program leaves it.
    /// One that is in use, or anything that is not a socket, is never touched.
    bool replace_stale = true;
  };

  /// Throws IoError naming the path: EADDRINUSE if something is there.
  explicit UnixListener(const std::filesystem::path& path) : UnixListener(path, Options()) {}
  UnixListener(const std::filesystem::path& path, const Options& options);
  UnixListener(UnixListener&&) noexcept;
  UnixListener& operator=(UnixListener&&) noexcept;
  ~UnixListener();

  /// Waits for a connection; nullopt once the listener is closed, or if none comes before `deadline`. Throws
  /// InterruptedError, and IoError as TcpListener::accept().
  std::optional<UnixSocket> accept(Deadline deadline = {});

  /// Removes the path, unless another file has taken it since, and wakes those who wait in accept(). May be
  /// called again. In a child made by fork() the path is left to the parent.
  void close() noexcept;
  bool is_closed() const noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }

  using Iterator = detail::AcceptIterator<UnixListener, UnixSocket>;
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  struct BoundFile {
    dev_t device = 0;
    ino_t inode = 0;
    pid_t owner = 0;
  };

  std::filesystem::path path_;
  std::string waiting_for_;  // as dumps show it
  BoundFile file_;
  std::unique_ptr<detail::Descriptor> descriptor_;
};

}  // namespace creel
