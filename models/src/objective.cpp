#include "unknown_name.hpp"

#include <creel/models/objective.hpp>
#include <creel/runtime/error.hpp>

#include <utility>

namespace creel::models {

const ObjectiveRegistry& ObjectiveRegistry::builtin() {
  static const ObjectiveRegistry registry = [] {
    ObjectiveRegistry made;
    register_objectives(made);
    return made;
  }();
  return registry;
}

void ObjectiveRegistry::add(std::string name, Factory factory) {
  const auto [place, fresh] = factories_.emplace(std::move(name), std::move(factory));
  if (!fresh) throw Error("two objectives are named '" + place->first + "'");
}

std::unique_ptr<Objective> ObjectiveRegistry::create(std::string_view name) const {
  const auto known = factories_.find(name);
  if (known != factories_.end()) return known->second();
  throw Error(detail::unknown_name("objective", name, names()), ErrorCode::Config);
}

std::vector<std::string> ObjectiveRegistry::names() const {
  std::vector<std::string> all;
  for (const auto& [name, factory] : factories_) all.push_back(name);
  return all;
}

}  // namespace creel::models
