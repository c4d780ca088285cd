#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline {

enum class ElementType : std::uint8_t { U8, I64, F32 };

std::size_t size_of(ElementType type) noexcept;
std::string_view to_string(ElementType type) noexcept;  ///< "u8", "i64", "f32"

template <typename T>
constexpr ElementType element_type_of() noexcept {
  static_assert(std::is_same_v<T, std::uint8_t> || std::is_same_v<T, std::int64_t> ||
                std::is_same_v<T, float>);
  if constexpr (std::is_same_v<T, std::uint8_t>) return ElementType::U8;
  if constexpr (std::is_same_v<T, std::int64_t>) return ElementType::I64;
  return ElementType::F32;
}

/// A dense row-major array in host memory that needs no tensor library: what the data part hands to the
/// models. The bytes start on a cache line and are not initialised. Moved, never copied by accident.
class HostTensor {
 public:
  static constexpr std::size_t kAlignment = 64;

  HostTensor() noexcept = default;
  /// Throws Error if an extent is negative or the bytes do not fit in the address space.
  HostTensor(ElementType type, std::vector<std::int64_t> shape);

  ElementType type() const noexcept { return type_; }
  const std::vector<std::int64_t>& shape() const noexcept { return shape_; }
  std::size_t size() const noexcept { return size_; }  ///< elements
  std::span<std::byte> bytes() noexcept { return {data_.get(), size_ * size_of(type_)}; }
  std::span<const std::byte> bytes() const noexcept { return {data_.get(), size_ * size_of(type_)}; }

  /// The elements as T; throws Error if the tensor holds something else.
  template <typename T>
  std::span<T> values() {
    check(element_type_of<T>());
    return {reinterpret_cast<T*>(data_.get()), size_};
  }
  template <typename T>
  std::span<const T> values() const {
    check(element_type_of<T>());
    return {reinterpret_cast<const T*>(data_.get()), size_};
  }

  /// "u8 [28, 28, 3]", for messages.
  std::string describe() const;

 private:
  struct Free {
    void operator()(std::byte* data) const noexcept {
      ::operator delete (data, std::align_val_t{kAlignment});
    }
  };
  void check(ElementType wanted) const;

  ElementType type_ = ElementType::U8;
  std::vector<std::int64_t> shape_;
  std::size_t size_ = 0;
  std::unique_ptr<std::byte, Free> data_;
};

}  // namespace creel::pipeline
