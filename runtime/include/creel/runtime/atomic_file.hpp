#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

namespace creel {

/// Writes `pieces`, one after another, as the new content of `path` such that a crash, a kill or a full disk
/// at any moment leaves either the old file or the whole new one: a temporary file in the same folder is
/// written, synced and renamed, and the folder synced. Throws IoError that names the path and, where the disk
/// is full, the bytes needed and the bytes free; the temporary file is then gone.
void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> pieces);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace creel
