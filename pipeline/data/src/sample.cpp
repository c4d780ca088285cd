#include <creel/pipeline/data/sample.hpp>

#include <algorithm>

namespace creel::pipeline {

const FieldValue* Sample::find(std::string_view name) const noexcept {
  const auto found =
      std::find_if(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
  return found == fields.end() ? nullptr : &found->second;
}

FieldValue* Sample::find(std::string_view name) noexcept {
  return const_cast<FieldValue*>(std::as_const(*this).find(name));
}

void Sample::set(std::string_view name, FieldValue value) {
  if (FieldValue* const field = find(name)) {
    *field = std::move(value);
  } else {
    fields.emplace_back(name, std::move(value));
  }
}

void Sample::remove(std::string_view name) noexcept {
  std::erase_if(fields, [&](const auto& field) { return field.first == name; });
}

}  // namespace creel::pipeline
