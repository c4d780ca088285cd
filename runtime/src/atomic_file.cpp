#include "write_fully.hpp"

#include <creel/runtime/atomic_file.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace creel {

namespace {

/// Removes the temporary file unless it was renamed into place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& target) {
    static std::atomic<unsigned> serial = 0;
    // Process and serial number make the name unique; O_EXCL refuses what a crashed process of the same id
    // left, so go on.
    for (int attempt = 0; attempt < 100 && !fd_; ++attempt) {
      name_ = target.string() + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(serial++);
      fd_.reset(::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (!fd_ && errno != EEXIST) break;
    }
    if (fd_) return;
    name_.clear();
    throw IoError("cannot create a temporary file for", target.string(), errno);
  }
  ~TemporaryFile() {
    if (!name_.empty()) ::unlink(name_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int fd() const { return fd_.get(); }

  int rename_to(const std::filesystem::path& target) {
    if (::rename(name_.c_str(), target.c_str()) != 0) return errno;
    name_.clear();
    return 0;
  }

 private:
  std::string name_;
  UniqueFd fd_;
};

[[noreturn]] void fail(const std::filesystem::path& path, std::size_t size, int error_number) {
  std::string what = "cannot write " + std::to_string(size) + " bytes";
  struct statvfs disk {};
  if (error_number == ENOSPC &&
      ::statvfs(path.parent_path().empty() ? "." : path.parent_path().c_str(), &disk) == 0) {
    what += " (" + std::to_string(disk.f_bavail * disk.f_frsize) + " free)";
  }
  throw IoError(what, path.string(), error_number);
}

void sync_folder(const std::filesystem::path& path) {
  const std::string folder = path.parent_path().empty() ? "." : path.parent_path().string();
  const UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a folder and say EINVAL: there the rename is as durable as it gets.
  if (!fd || (::fsync(fd.get()) != 0 && errno != EINVAL))
    throw IoError("cannot sync the folder", folder, errno);
}

}  // namespace

void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> pieces) {
  std::size_t size = 0;
  for (const std::span<const std::byte> piece : pieces) size += piece.size();
  TemporaryFile file(path);
  for (const std::span<const std::byte> piece : pieces) {
    if (const int error_number = detail::write_fully(file.fd(), piece)) fail(path, size, error_number);
  }
  if (::fsync(file.fd()) != 0) fail(path, size, errno);
  if (const int error_number = file.rename_to(path)) fail(path, size, error_number);
  sync_folder(path);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text.data(), text.size()));
  write_file_atomically(path, std::span(&piece, 1));
}

}  // namespace creel
