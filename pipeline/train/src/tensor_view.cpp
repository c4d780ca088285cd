#include "tensor_view.hpp"

#include <creel/runtime/error.hpp>

namespace creel::pipeline {
namespace {

comm::DType dtype_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return comm::DType::F32;
    case at::kDouble:
      return comm::DType::F64;
    case at::kHalf:
      return comm::DType::F16;
    case at::kBFloat16:
      return comm::DType::BF16;
    case at::kInt:
      return comm::DType::I32;
    case at::kLong:
      return comm::DType::I64;
    case at::kByte:
      return comm::DType::U8;
    default:
      throw Error(std::string("no collective works on tensors of type ") +
                  c10::toString(tensor.scalar_type()));
  }
}

}  // namespace

comm::BufferView buffer_view(const at::Tensor& tensor) {
  if (!tensor.device().is_cpu() || !tensor.is_contiguous()) {
    throw Error("a collective needs a contiguous CPU tensor; call contiguous() first");
  }
  return {tensor.data_ptr(), static_cast<std::size_t>(tensor.numel()), dtype_of(tensor)};
}

}  // namespace creel::pipeline
