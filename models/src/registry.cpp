#include "unknown_name.hpp"

#include <creel/models/registry.hpp>
#include <creel/runtime/error.hpp>

#include <utility>

namespace creel::models {

const Registry& Registry::builtin() {
  static const Registry registry = [] {
    Registry made;
    register_zoo(made);
    return made;
  }();
  return registry;
}

void Registry::add(std::string name, Factory factory) {
  const auto [place, fresh] = factories_.emplace(std::move(name), std::move(factory));
  if (!fresh) throw Error("two models are named '" + place->first + "'");
}

std::unique_ptr<Model> Registry::create(const ModelSpec& spec) const {
  const auto known = factories_.find(spec.name);
  if (known != factories_.end()) return known->second(spec);
  throw Error(detail::unknown_name("model", spec.name, names()), ErrorCode::Config);
}

std::vector<std::string> Registry::names() const {
  std::vector<std::string> all;
  for (const auto& [name, factory] : factories_) all.push_back(name);
  return all;
}

}  // namespace creel::models
