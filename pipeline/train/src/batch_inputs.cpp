#include "batch_inputs.hpp"

#include <creel/models/functional.hpp>

#include <variant>

namespace creel::pipeline {
namespace {

at::ScalarType scalar_type(ElementType type) {
  switch (type) {
    case ElementType::U8:
      return at::kByte;
    case ElementType::I64:
      return at::kLong;
    case ElementType::F32:
      return at::kFloat;
  }
  return at::kByte;
}

}  // namespace

nn::Inputs batch_inputs(Batch& batch) {
  nn::Inputs inputs;
  for (auto& [name, field] : batch.fields) {
    if (HostTensor* tensor = std::get_if<HostTensor>(&field)) {
      inputs.set(name, nn::view_of(tensor->bytes().data(), tensor->shape(), scalar_type(tensor->type())));
    }
  }
  return inputs;
}

}  // namespace creel::pipeline
