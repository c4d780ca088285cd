#pragma once

#include "descriptor.hpp"

#include <creel/runtime/error.hpp>

#include <sys/socket.h>

#include <cerrno>

namespace creel::detail {

template <typename Value>
void set_option(Descriptor& descriptor, int level, int option, const char* what, const Value& value) {
  int error = EBADF;
  descriptor.with_fd(
      [&](int fd) { error = ::setsockopt(fd, level, option, &value, sizeof value) == 0 ? 0 : errno; });
  if (error != 0) throw IoError(what, descriptor.peer(), error);
}

}  // namespace creel::detail
