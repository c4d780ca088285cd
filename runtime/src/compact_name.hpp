#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace creel::detail {

/// A thread's name in 16 bytes: up to 15 characters in place ("session-4711"), longer ones on the heap.
class CompactName {
 public:
  CompactName() noexcept = default;
  explicit CompactName(std::string_view text) {
    if (text.size() <= kInPlace) {
      std::memcpy(bytes_.data(), text.data(), text.size());
      bytes_.back() = static_cast<char>(text.size());
      return;
    }
    const auto* heap = new std::string(text);
    std::memcpy(bytes_.data(), &heap, sizeof heap);
    bytes_.back() = kOnHeap;
  }
  /// `prefix` followed by the decimal number.
  CompactName(std::string_view prefix, std::uint64_t number) {
    char digits[20];
    const auto size =
        static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, number).ptr - digits);
    if (prefix.size() + size <= kInPlace) {
      std::memcpy(bytes_.data(), prefix.data(), prefix.size());
      std::memcpy(bytes_.data() + prefix.size(), digits, size);
      bytes_.back() = static_cast<char>(prefix.size() + size);
      return;
    }
    *this = CompactName(std::string(prefix).append(digits, size));
  }
  CompactName(CompactName&& other) noexcept : bytes_(other.bytes_) { other.bytes_ = {}; }
  CompactName& operator=(CompactName&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~CompactName() {
    if (bytes_.back() == kOnHeap) [[unlikely]]
      delete heap();
  }

  std::string_view view() const noexcept {
    if (bytes_.back() == kOnHeap) return *heap();
    return {bytes_.data(), static_cast<std::size_t>(bytes_.back())};
  }

 private:
  static constexpr std::size_t kInPlace = 15;
  static constexpr char kOnHeap = 16;

  const std::string* heap() const noexcept {
    const std::string* pointer = nullptr;
    std::memcpy(&pointer, bytes_.data(), sizeof pointer);
    return pointer;
  }

  // The last byte is the length, or kOnHeap: then a pointer comes first.
  alignas(8) std::array<char, kInPlace + 1> bytes_{};
};

}  // namespace creel::detail
