#include "vocabulary.hpp"

#include <algorithm>
#include <array>

namespace creel::models::detail {

namespace {

constexpr bool printable(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct SymbolTable {
  std::array<std::int32_t, 256> of_byte{};
  std::array<std::int16_t, 512> of_code_point{};

  SymbolTable() {
    of_code_point.fill(-1);
    std::int32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
      const std::int32_t code_point = printable(byte) ? byte : next++;
      of_byte[static_cast<std::size_t>(byte)] = code_point;
      of_code_point[static_cast<std::size_t>(code_point)] = static_cast<std::int16_t>(byte);
    }
  }
};

const SymbolTable& symbols() {
  static const SymbolTable table;
  return table;
}

}  // namespace

std::string byte_symbol(unsigned char byte) {
  const std::int32_t code_point = symbols().of_byte[byte];
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3F))};
}

int symbol_byte(std::int32_t code_point) {
  if (code_point < 0 || code_point >= 512) return -1;
  return symbols().of_code_point[static_cast<std::size_t>(code_point)];
}

std::vector<unsigned char> bytes_in_order() {
  std::vector<unsigned char> order;
  for (int byte = 0; byte < 256; ++byte) order.push_back(static_cast<unsigned char>(byte));
  std::stable_partition(order.begin(), order.end(), [](unsigned char byte) { return printable(byte); });
  return order;
}

}  // namespace creel::models::detail
