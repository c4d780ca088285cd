#pragma once

#include <creel/pipeline/data/host_tensor.hpp>
#include <creel/runtime/result.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace creel::pipeline {

/// Images of more pixels than this are refused before anything is allocated for them.
inline constexpr std::uint64_t kMaxPixels = std::uint64_t{64} << 20U;

bool is_png(std::span<const std::byte> file) noexcept;

/// A PNG file of any kind (1 to 16 bits, grey, palette, alpha, interlaced) as u8 [height, width, 3], RGB. 16
/// bits are scaled to 8; alpha is dropped, not blended. Gamma and colour profiles are not applied. A Failure
/// says why the file cannot be decoded: corrupt, truncated, too many pixels.
Result<HostTensor> decode_png(std::span<const std::byte> file);

}  // namespace creel::pipeline
