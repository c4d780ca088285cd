#pragma once

#include <creel/pipeline/data/host_tensor.hpp>
#include <creel/pipeline/data/sampler.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace creel::pipeline {

/// A sample that could not be used, and why.
struct BadSample {
  std::string key;
  std::string why;
};

/// The rows of one rank at one step, field by field.
struct Batch {
  Position position;
  std::int64_t rows = 0;
  std::vector<std::string> keys;  ///< of each row: "000123 of train-000000.tar"
  /// stacked or padded tensors [rows, …], or one text a row
  std::vector<std::pair<std::string, std::variant<HostTensor, std::vector<std::string>>>> fields;
  std::vector<BadSample> bad;  ///< samples of this batch that were replaced or left out

  /// The field of that name; throws Error of code Data if the batch has no such tensor or list.
  HostTensor& tensor(std::string_view name);
  const HostTensor& tensor(std::string_view name) const;
  const std::vector<std::string>& texts(std::string_view name) const;
  bool has(std::string_view name) const noexcept;
};

}  // namespace creel::pipeline
