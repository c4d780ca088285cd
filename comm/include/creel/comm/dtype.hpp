#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace creel::comm {

/// Element types that a collective can reduce. F16 and BF16 are summed in fp32 and rounded once.
enum class DType : std::uint8_t { F32, F64, F16, BF16, I32, I64, U8 };

/// Bytes of one element.
constexpr std::size_t size_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::F64:
    case DType::I64:
      return 8;
    case DType::F32:
    case DType::I32:
      return 4;
    case DType::F16:
    case DType::BF16:
      return 2;
    case DType::U8:
      return 1;
  }
  return 0;
}

/// "f32", "bf16", …
constexpr std::string_view name(DType dtype) noexcept {
  constexpr std::string_view kNames[] = {"f32", "f64", "f16", "bf16", "i32", "i64", "u8"};
  return kNames[static_cast<std::size_t>(dtype)];
}

constexpr bool is_floating(DType dtype) noexcept { return dtype <= DType::BF16; }

}  // namespace creel::comm
