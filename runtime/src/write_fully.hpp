#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <string_view>

namespace creel::detail {

/// Writes all of `bytes` to a descriptor that blocks; 0 or errno's value. Async-signal-safe.
inline int write_fully(int fd, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return 0;
}

inline int write_fully(int fd, std::string_view text) noexcept {
  return write_fully(fd, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace creel::detail
