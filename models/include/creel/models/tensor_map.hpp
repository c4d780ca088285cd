#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace creel::nn {

using at::Tensor;

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

/// Tensors by name, in the order they were put in: the inputs and outputs of a model, a state dict, an
/// optimizer's state. Copies share the tensors' memory.
class TensorMap {
 public:
  TensorMap() = default;
  TensorMap(std::initializer_list<NamedTensor> entries) {
    for (const NamedTensor& entry : entries) set(entry.name, entry.tensor);
  }

  /// Puts a tensor in; an entry of that name is replaced in its place.
  void set(std::string name, Tensor tensor);

  /// The tensor, or an undefined one if there is none of that name.
  Tensor find(std::string_view name) const;

  /// The tensor; throws Error that lists the names there are.
  const Tensor& at(std::string_view name) const;

  bool contains(std::string_view name) const;
  bool empty() const noexcept { return entries_.empty(); }
  std::size_t size() const noexcept { return entries_.size(); }
  auto begin() const noexcept { return entries_.begin(); }
  auto end() const noexcept { return entries_.end(); }

 private:
  const NamedTensor* entry(std::string_view name) const;

  std::vector<NamedTensor> entries_;
  std::vector<std::pair<std::size_t, std::size_t>> by_hash_;  // hash of the name → place, sorted
};

using Inputs = TensorMap;
using Outputs = TensorMap;

}  // namespace creel::nn
