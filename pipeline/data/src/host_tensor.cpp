#include <creel/pipeline/data/host_tensor.hpp>
#include <creel/runtime/error.hpp>

namespace creel::pipeline {
namespace {

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

}  // namespace

std::size_t size_of(ElementType type) noexcept {
  switch (type) {
    case ElementType::U8:
      return 1;
    case ElementType::I64:
      return 8;
    case ElementType::F32:
      return 4;
  }
  return 1;
}

std::string_view to_string(ElementType type) noexcept {
  switch (type) {
    case ElementType::U8:
      return "u8";
    case ElementType::I64:
      return "i64";
    case ElementType::F32:
      return "f32";
  }
  return "?";
}

HostTensor::HostTensor(ElementType type, std::vector<std::int64_t> shape)
    : type_(type), shape_(std::move(shape)), size_(1) {
  bool fits = true;
  for (const std::int64_t extent : shape_) {
    fits = fits && extent >= 0 && !__builtin_mul_overflow(size_, static_cast<std::size_t>(extent), &size_);
  }
  if (!fits || size_ > PTRDIFF_MAX / size_of(type)) {
    throw Error("a tensor of shape " + shape_text(shape_) + " cannot be");
  }
  data_.reset(static_cast<std::byte*>(::operator new (size_* size_of(type), std::align_val_t{kAlignment})));
}

std::string HostTensor::describe() const { return std::string(to_string(type_)) + " " + shape_text(shape_); }

void HostTensor::check(ElementType wanted) const {
  if (wanted != type_)
    throw Error("a tensor of " + describe() + " was read as " + std::string(to_string(wanted)));
}

}  // namespace creel::pipeline
