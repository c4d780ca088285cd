#pragma once

#include <creel/pipeline/data/batch.hpp>
#include <creel/pipeline/data/sample.hpp>
#include <creel/runtime/result.hpp>

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace creel::pipeline {

/// How the rows of a field become one.
enum class CollatePolicy : std::uint8_t {
  Stack,  ///< tensors of one shape [..] → [rows, ..]; another shape is a Failure
  Pad,    ///< tensors of one rank → [rows, largest extents], filled up at the ends with pad_value
  List,   ///< texts, one a row
};

struct FieldCollate {
  CollatePolicy policy = CollatePolicy::Stack;
  double pad_value = 0;
};

/// Policies by field name. A field without one is stacked if it holds tensors and listed if it holds text;
/// stored bytes are left out.
using CollateRules = std::map<std::string, FieldCollate, std::less<>>;

/// Rows to a batch (position and bad are the caller's to fill in). All rows must have the fields of the first
/// one; a Failure names the field and the two samples that do not agree.
Result<Batch> collate(std::span<const Sample* const> rows, const CollateRules& rules = {});

}  // namespace creel::pipeline
