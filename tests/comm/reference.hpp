#pragma once

#include <creel/comm/buffer_view.hpp>
#include <creel/comm/reduce_op.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

/// A slow second implementation of the element arithmetic, for tests: through double, by the definitions of
/// the formats.
namespace reference {

using creel::comm::DType;
using creel::comm::ReduceOp;
using Bytes = std::vector<std::byte>;

/// Value of a 16-bit float with `exponent_bits` and 15 - exponent_bits bits of fraction.
inline double decode_16(std::uint16_t bits, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> fraction_bits) & ((1 << exponent_bits) - 1);
  const int fraction = bits & ((1 << fraction_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? std::nan("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
  return sign * std::ldexp((1 << fraction_bits) + fraction, exponent - bias - fraction_bits);
}

/// The nearest 16-bit float, ties to the even one: by searching the ordered magnitudes.
inline std::uint16_t encode_16(double value, int exponent_bits) {
  const int fraction_bits = 15 - exponent_bits;
  const auto infinity = static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << fraction_bits);
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (std::isnan(value)) return static_cast<std::uint16_t>(infinity | (1 << (fraction_bits - 1)));
  const double magnitude = std::fabs(value);
  std::uint16_t low = 0;
  std::uint16_t high = infinity;
  while (high - low > 1) {
    const auto middle = static_cast<std::uint16_t>((low + high) / 2);
    (decode_16(middle, exponent_bits) <= magnitude ? low : high) = middle;
  }
  const double below = decode_16(low, exponent_bits);
  if (below == magnitude) return static_cast<std::uint16_t>(sign | low);
  // Past the largest number the next step would be one more of its own size.
  const double above = high == infinity
                           ? 2 * below - decode_16(static_cast<std::uint16_t>(low - 1), exponent_bits)
                           : decode_16(high, exponent_bits);
  const double middle = (below + above) / 2;
  const bool up = magnitude > middle || (magnitude == middle && (low & 1) != 0);
  return static_cast<std::uint16_t>(sign | (up ? high : low));
}

template <typename T>
T at(const Bytes& bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}
template <typename T>
void put(Bytes& bytes, std::size_t i, T value) {
  std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
}

/// Element i as a double; exact for the values that the tests use.
inline double value_at(const Bytes& bytes, std::size_t i, DType dtype) {
  switch (dtype) {
    case DType::F32:
      return at<float>(bytes, i);
    case DType::F64:
      return at<double>(bytes, i);
    case DType::F16:
      return decode_16(at<std::uint16_t>(bytes, i), 5);
    case DType::BF16:
      return decode_16(at<std::uint16_t>(bytes, i), 8);
    case DType::I32:
      return at<std::int32_t>(bytes, i);
    case DType::I64:
      return static_cast<double>(at<std::int64_t>(bytes, i));
    case DType::U8:
      return at<std::uint8_t>(bytes, i);
  }
  return 0;
}

inline void put_value(Bytes& bytes, std::size_t i, DType dtype, double value) {
  switch (dtype) {
    case DType::F32:
      return put(bytes, i, static_cast<float>(value));
    case DType::F64:
      return put(bytes, i, value);
    case DType::F16:
      return put(bytes, i, encode_16(value, 5));
    case DType::BF16:
      return put(bytes, i, encode_16(value, 8));
    case DType::I32:
      return put(bytes, i, static_cast<std::int32_t>(value));
    case DType::I64:
      return put(bytes, i, static_cast<std::int64_t>(value));
    case DType::U8:
      return put(bytes, i, static_cast<std::uint8_t>(static_cast<std::int64_t>(value)));
  }
}

/// Multiples of 1/8 (integers: whole numbers) so small that every sum is exact in any order in fp32.
inline double sample(std::size_t i, int rank, DType dtype) {
  const auto mixed =
      static_cast<std::uint32_t>(i * 2654435761u) ^ static_cast<std::uint32_t>(rank * 40503 + 17);
  const int whole = static_cast<int>((mixed >> 7) % 61);
  if (dtype == DType::U8) return whole;
  return creel::comm::is_floating(dtype) ? (whole - 30) / 8.0 : whole - 30;
}

inline Bytes filled(std::size_t count, int rank, DType dtype) {
  Bytes bytes(count * size_of(dtype));
  for (std::size_t i = 0; i < count; ++i) put_value(bytes, i, dtype, sample(i, rank, dtype));
  return bytes;
}

/// What all_reduce of filled(count, 0…ranks-1) must give.
inline Bytes reduced(std::size_t count, int ranks, DType dtype, ReduceOp op) {
  Bytes bytes(count * size_of(dtype));
  for (std::size_t i = 0; i < count; ++i) {
    double value = sample(i, 0, dtype);
    for (int rank = 1; rank < ranks; ++rank) {
      const double x = sample(i, rank, dtype);
      if (op == ReduceOp::Max) value = std::max(value, x);
      if (op == ReduceOp::Min) value = std::min(value, x);
      if (op == ReduceOp::Sum || op == ReduceOp::Average) value += x;
    }
    if (op == ReduceOp::Average) {
      // Partial results of 16-bit floats are fp32: the quotient is rounded to that first.
      value = dtype == DType::F64
                  ? value / ranks
                  : static_cast<double>(static_cast<float>(value) / static_cast<float>(ranks));
    }
    put_value(bytes, i, dtype, value);
  }
  return bytes;
}

}  // namespace reference
