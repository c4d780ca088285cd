#pragma once

#include "reduce_kernels/reduce_kernels.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

// Included by one source per instruction set. All in an anonymous namespace, and no function of the standard
// library: the linker must not find two bodies of one name and keep the one that this machine cannot run.
namespace creel::comm::detail {
namespace {

struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};

inline float widen(BFloat16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

inline BFloat16 narrow_bfloat16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;  // to nearest, ties to even
  const std::uint32_t nan = (bits >> 16) | 0x40u;  // rounding could turn a NaN into infinity
  return {static_cast<std::uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

// Without branches, so that the loop vectorises. Subnormals go through integers: the process may flush them
// in floats.
inline float widen(Half x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t rest = x.bits & 0x7fffu;
  const std::uint32_t normal = (rest << 13) + (112u << 23);
  const std::uint32_t special = (rest << 13) | 0x7f800000u;
  const auto subnormal =
      std::bit_cast<std::uint32_t>(static_cast<float>(static_cast<std::int32_t>(rest)) * 0x1p-24f);
  const std::uint32_t finite = rest < 0x0400u ? subnormal : normal;
  return std::bit_cast<float>(sign | (rest >= 0x7c00u ? special : finite));
}

inline Half narrow_half(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t rest = bits & 0x7fffffffu;
  const std::uint32_t normal = (rest - (112u << 23) + 0xfffu + ((rest >> 13) & 1u)) >> 13;
  // Adding 0.5 moves the bits of a subnormal to the end of the significand, rounded by the addition itself.
  const auto subnormal = std::bit_cast<std::uint32_t>(std::bit_cast<float>(rest) + 0.5f) - 0x3f000000u;
  const std::uint32_t special = rest > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const std::uint32_t finite = rest < (113u << 23) ? subnormal : normal;
  return {static_cast<std::uint16_t>(sign |
                                     (rest >= 0x477ff000u ? special : finite))};  // 65520 rounds to infinity
}

template <typename T>
struct ElementTraits {
  using Partial = T;
  static Partial widen_to_partial(T x) { return x; }
  static T narrow(Partial x) { return x; }
};
template <>
struct ElementTraits<Half> {
  using Partial = float;
  static float widen_to_partial(Half x) { return widen(x); }
  static Half narrow(float x) { return narrow_half(x); }
};
template <>
struct ElementTraits<BFloat16> {
  using Partial = float;
  static float widen_to_partial(BFloat16 x) { return widen(x); }
  static BFloat16 narrow(float x) { return narrow_bfloat16(x); }
};

struct Sum {
  template <typename T>
  static T apply(T a, T b) {
    if constexpr (std::is_integral_v<T>) {
      using Unsigned = std::make_unsigned_t<T>;  // wraps, where signed overflow would be undefined
      return static_cast<T>(static_cast<Unsigned>(static_cast<Unsigned>(a) + static_cast<Unsigned>(b)));
    } else {
      return a + b;
    }
  }
};
// A NaN wins on either side: a hidden one would be found many steps later.
struct Max {
  template <typename T>
  static T apply(T a, T b) {
    return (a > b || a != a) ? a : b;
  }
};
struct Min {
  template <typename T>
  static T apply(T a, T b) {
    return (a < b || a != a) ? a : b;
  }
};

// Unaligned and of any dynamic type; g++ makes one vector load of it.
template <typename T>
inline T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}
template <typename T>
inline void store(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof(T));
}

template <typename T, typename Op, bool kAverage, bool kPartialIn, bool kFinished>
void combine(void* out, const void* a, const void* b, std::size_t count, int ranks) {
  using Traits = ElementTraits<T>;
  using Partial = typename Traits::Partial;
  using In = std::conditional_t<kPartialIn, Partial, T>;
  using Out = std::conditional_t<kFinished, T, Partial>;
  auto* to = static_cast<std::byte*>(out);
  const auto* left = static_cast<const std::byte*>(a);
  const auto* right = static_cast<const std::byte*>(b);
  [[maybe_unused]] const auto divisor = static_cast<Partial>(ranks);
// An output that is one of the inputs is the same element, never another one's: iterations stay independent.
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
  for (std::size_t i = 0; i < count; ++i) {
    Partial x;
    if constexpr (kPartialIn) {
      x = load<In>(left + i * sizeof(In));
    } else {
      x = Traits::widen_to_partial(load<In>(left + i * sizeof(In)));
    }
    x = Op::template apply<Partial>(x, Traits::widen_to_partial(load<T>(right + i * sizeof(T))));
    if constexpr (kFinished) {
      if constexpr (kAverage) x = static_cast<Partial>(x / divisor);
      store<Out>(to + i * sizeof(Out), Traits::narrow(x));
    } else {
      store<Out>(to + i * sizeof(Out), x);
    }
  }
}

template <typename T, typename Op, bool kAverage = false>
constexpr ReduceKernel kernel() {
  return {{{&combine<T, Op, kAverage, false, false>, &combine<T, Op, kAverage, false, true>},
           {&combine<T, Op, kAverage, true, false>, &combine<T, Op, kAverage, true, true>}}};
}

// In the order of DType and ReduceOp. Group refuses Average of integers, so that its place holds the sum.
template <typename T>
inline constexpr bool kDivides = !std::is_integral_v<T>;
#define CREEL_KERNELS_OF(T) \
  { kernel<T, Sum>(), kernel<T, Max>(), kernel<T, Min>(), kernel<T, Sum, kDivides<T>>() }
constexpr ReduceKernelTable kKernels = {CREEL_KERNELS_OF(float),        CREEL_KERNELS_OF(double),
                                        CREEL_KERNELS_OF(Half),         CREEL_KERNELS_OF(BFloat16),
                                        CREEL_KERNELS_OF(std::int32_t), CREEL_KERNELS_OF(std::int64_t),
                                        CREEL_KERNELS_OF(std::uint8_t)};
#undef CREEL_KERNELS_OF

}  // namespace
}  // namespace creel::comm::detail
