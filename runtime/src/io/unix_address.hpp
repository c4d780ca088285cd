#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <filesystem>

namespace creel::detail {

/// Throws IoError (ENAMETOOLONG) if the path does not fit.
sockaddr_un unix_address(const std::filesystem::path& path);

}  // namespace creel::detail
