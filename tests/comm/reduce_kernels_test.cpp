#include "reduce_kernels/reduce_kernels.hpp"

#include "reference.hpp"

#include <creel/comm/dtype.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace creel::comm;
using detail::ReduceKernelTable;

namespace {

std::vector<const ReduceKernelTable*> tables() {
  std::vector<const ReduceKernelTable*> all{&detail::baseline_reduce_kernels()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) all.push_back(detail::avx2_reduce_kernels());
#endif
  return all;
}

const detail::ReduceKernel& kernel(const ReduceKernelTable& table, DType dtype, ReduceOp op) {
  return table[static_cast<std::size_t>(dtype)][static_cast<std::size_t>(op)];
}

}  // namespace

TEST_CASE("every 16-bit float widens to its value") {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  // -0 is the neutral element of a floating sum; x + -0 keeps even the sign of a zero.
  const std::vector<std::uint16_t> minus_zero(all.size(), 0x8000);
  for (const ReduceKernelTable* table : tables()) {
    for (const auto& [dtype, exponent_bits] : {std::pair{DType::F16, 5}, {DType::BF16, 8}}) {
      std::vector<float> wide(all.size());
      kernel(*table, dtype, ReduceOp::Sum)
          .combine[0][0](wide.data(), all.data(), minus_zero.data(), all.size(), 2);
      for (std::size_t i = 0; i < all.size(); ++i) {
        const double expected = reference::decode_16(all[i], exponent_bits);
        const bool same = std::isnan(expected)
                              ? std::isnan(wide[i])
                              : std::bit_cast<std::uint32_t>(wide[i]) ==
                                    std::bit_cast<std::uint32_t>(static_cast<float>(expected));
        REQUIRE_MESSAGE(same, name(dtype) << " " << i << ": " << wide[i] << " for " << expected);
      }
    }
  }
}

TEST_CASE("fp32 narrows to the nearest 16-bit float, ties to even") {
  std::vector<float> values{0.0f,
                            -0.0f,
                            1.0f,
                            65504.0f,
                            65519.99f,
                            65520.0f,
                            1e30f,
                            -1e30f,
                            0x1p-24f,
                            0x1p-25f,
                            0x1.8p-25f,
                            0x1p-14f,
                            0x1.ffcp-15f,
                            0x1.fffp-15f,
                            1.00048828125f,
                            1.00146484375f,
                            std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN(),
                            std::bit_cast<float>(0x7f800001u),
                            std::numeric_limits<float>::max()};
  std::mt19937 random(7);
  for (int i = 0; i < 200'000; ++i)
    values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  for (int i = 0; i < 200'000; ++i) {  // where fp16 has its numbers, ties among them
    const int exponent = static_cast<int>(random() % 45) - 27;
    values.push_back(
        std::ldexp(static_cast<float>(1 + static_cast<double>(random() % 8192) / 8192.0), exponent));
  }
  const std::vector<std::uint16_t> minus_zero(values.size(), 0x8000);
  for (const ReduceKernelTable* table : tables()) {
    for (const auto& [dtype, exponent_bits] : {std::pair{DType::F16, 5}, {DType::BF16, 8}}) {
      std::vector<std::uint16_t> narrow(values.size());
      kernel(*table, dtype, ReduceOp::Sum)
          .combine[1][1](narrow.data(), values.data(), minus_zero.data(), values.size(), 2);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double value = values[i];
        const bool same = std::isnan(value) ? std::isnan(reference::decode_16(narrow[i], exponent_bits))
                                            : narrow[i] == reference::encode_16(value, exponent_bits);
        REQUIRE_MESSAGE(same, name(dtype) << " of " << value << ": " << narrow[i] << " for "
                                          << reference::encode_16(value, exponent_bits));
      }
    }
  }
}

TEST_CASE("integer sums wrap, a NaN survives max and min, average divides") {
  for (const ReduceKernelTable* table : tables()) {
    const std::int32_t big = std::numeric_limits<std::int32_t>::max();
    const std::int32_t one = 1;
    std::int32_t sum = 0;
    kernel(*table, DType::I32, ReduceOp::Sum).combine[0][1](&sum, &big, &one, 1, 2);
    CHECK(sum == std::numeric_limits<std::int32_t>::min());

    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float two = 2;
    for (const ReduceOp op : {ReduceOp::Max, ReduceOp::Min}) {
      float result = 0;
      kernel(*table, DType::F32, op).combine[0][1](&result, &nan, &two, 1, 2);
      CHECK(std::isnan(result));
      result = 0;
      kernel(*table, DType::F32, op).combine[0][1](&result, &two, &nan, 1, 2);
      CHECK(std::isnan(result));
    }

    const float seven = 7;
    float average = 0;
    kernel(*table, DType::F32, ReduceOp::Average).combine[0][1](&average, &seven, &two, 1, 3);
    CHECK(average == 3.0f);
    kernel(*table, DType::F32, ReduceOp::Average).combine[0][0](&average, &seven, &two, 1, 3);
    CHECK(average == 9.0f);  // not yet finished
  }
}

TEST_CASE("both instruction sets give the same bits, unaligned and in place") {
  const auto all = tables();
  if (all.size() < 2) return;
  std::mt19937 random(3);
  for (int d = 0; d < 7; ++d) {
    const auto dtype = static_cast<DType>(d);
    for (int o = 0; o < 4; ++o) {
      const std::size_t count = 1037;
      std::vector<std::byte> a(count * 8 + 1);
      std::vector<std::byte> b(count * 8 + 1);
      // Finite numbers of all sizes: the bits of a NaN may differ between instruction sets.
      for (std::size_t i = 0; i < count; ++i) {
        const double x = std::ldexp(static_cast<double>(random()) - 2e9, -34);
        const double y = std::ldexp(static_cast<double>(random()) - 2e9, -36);
        reference::Bytes element(8);
        reference::put_value(element, 0, dtype, is_floating(dtype) ? x : x * 1e6);
        std::copy_n(element.begin(), size_of(dtype),
                    a.begin() + static_cast<std::ptrdiff_t>(1 + i * size_of(dtype)));
        reference::put_value(element, 0, dtype, is_floating(dtype) ? y : y * 1e6);
        std::copy_n(element.begin(), size_of(dtype),
                    b.begin() + static_cast<std::ptrdiff_t>(1 + i * size_of(dtype)));
      }
      std::vector<std::byte> other = b;
      kernel(*all[0], dtype, static_cast<ReduceOp>(o))
          .combine[0][1](b.data() + 1, a.data() + 1, b.data() + 1, count, 3);
      kernel(*all[1], dtype, static_cast<ReduceOp>(o))
          .combine[0][1](other.data() + 1, a.data() + 1, other.data() + 1, count, 3);
      CHECK_MESSAGE(b == other, name(dtype) << " " << name(static_cast<ReduceOp>(o)));
    }
  }
}
