#pragma once

#include <creel/pipeline/data/host_tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace creel::pipeline {

/// A file's content as it was stored.
using Bytes = std::vector<std::byte>;

/// One part of a sample: as stored, as text, or as numbers.
using FieldValue = std::variant<Bytes, std::string, HostTensor>;

/// One item of a data set on its way to a batch: named fields, first files (`png`, `txt`), then what
/// transforms make of them (`image`, `pixel_values`).
struct Sample {
  std::string key;         ///< "000123 of train-000000.tar": names it in messages and dumps
  std::int64_t index = 0;  ///< its place in the data set
  std::int64_t epoch = 0;  ///< for which it was read; with index and the seed it decides all randomness
  std::vector<std::pair<std::string, FieldValue>> fields;  // a handful: a search is faster than a map

  FieldValue* find(std::string_view name) noexcept;
  const FieldValue* find(std::string_view name) const noexcept;
  /// The field of that name and type; nullptr if there is none or it is of another type.
  template <typename T>
  T* get(std::string_view name) noexcept {
    FieldValue* const field = find(name);
    return field == nullptr ? nullptr : std::get_if<T>(field);
  }
  template <typename T>
  const T* get(std::string_view name) const noexcept {
    const FieldValue* const field = find(name);
    return field == nullptr ? nullptr : std::get_if<T>(field);
  }
  /// Sets a field, replacing one of the same name.
  void set(std::string_view name, FieldValue value);
  void remove(std::string_view name) noexcept;
};

}  // namespace creel::pipeline
