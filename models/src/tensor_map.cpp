#include <creel/models/tensor_map.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <functional>

namespace creel::nn {

void TensorMap::set(std::string name, Tensor tensor) {
  if (const NamedTensor* known = entry(name)) {
    entries_[static_cast<std::size_t>(known - entries_.data())].tensor = std::move(tensor);
    return;
  }
  const std::pair key{std::hash<std::string_view>{}(name), entries_.size()};
  by_hash_.insert(std::lower_bound(by_hash_.begin(), by_hash_.end(), key), key);
  entries_.push_back({std::move(name), std::move(tensor)});
}

Tensor TensorMap::find(std::string_view name) const {
  const NamedTensor* known = entry(name);
  return known ? known->tensor : Tensor();
}

const Tensor& TensorMap::at(std::string_view name) const {
  if (const NamedTensor* known = entry(name)) return known->tensor;
  std::string names;
  for (const NamedTensor& one : entries_) names += (names.empty() ? "" : ", ") + one.name;
  throw Error("no tensor '" + std::string(name) + "'; there are: " + (names.empty() ? "none" : names));
}

bool TensorMap::contains(std::string_view name) const { return entry(name) != nullptr; }

const NamedTensor* TensorMap::entry(std::string_view name) const {
  const std::size_t hash = std::hash<std::string_view>{}(name);
  for (auto place = std::lower_bound(by_hash_.begin(), by_hash_.end(), std::pair{hash, std::size_t{0}});
       place != by_hash_.end() && place->first == hash; ++place) {
    if (entries_[place->second].name == name) return &entries_[place->second];
  }
  return nullptr;
}

}  // namespace creel::nn
