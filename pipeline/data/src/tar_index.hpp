#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace creel::pipeline::detail {

/// A regular file in a tar archive.
struct TarMember {
  std::string path;
  std::uint64_t offset;  ///< of its first byte in the archive
  std::uint64_t size;    ///< bytes
};

/// The regular files of an archive in their order; ustar, pax and GNU long names. Reads headers only.
/// Trusts nothing: sizes and offsets are checked against the file's length, checksums against the headers.
/// Throws Error of code Data that names the archive and the place. Source: POSIX.1-2017, pax; GNU tar manual,
/// "Basic Tar Format".
std::vector<TarMember> read_tar_index(int fd, const std::string& path);

/// Reads exactly `size` bytes at `offset`; false if the file ends before. Throws IoError.
bool read_exactly(int fd, const std::string& path, std::uint64_t offset, std::byte* to, std::size_t size);

}  // namespace creel::pipeline::detail
