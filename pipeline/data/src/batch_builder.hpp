#pragma once

#include "bad_sample_log.hpp"

#include <creel/pipeline/data/loader.hpp>
#include <creel/runtime/result.hpp>

#include <memory>
#include <optional>
#include <vector>

namespace creel::pipeline::detail {

/// A sample on its way through the loader, with the row that it is to fill.
struct Row {
  Position position;
  std::int64_t number = 0;  ///< within the batch
  std::int64_t of = 0;      ///< rows of the batch
  std::string key;
  Result<Sample> sample;
};

/// Gathers the rows of a batch, which come in order, and makes the batch with the last one.
class BatchBuilder {
 public:
  BatchBuilder(BadRows bad_rows, CollateRules rules, std::shared_ptr<BadSampleLog> log)
      : bad_rows_(bad_rows), rules_(std::move(rules)), log_(std::move(log)) {}

  /// A copy has the same rules and begins with no rows: it belongs to another run of the graph.
  BatchBuilder(const BatchBuilder& other)
      : bad_rows_(other.bad_rows_), rules_(other.rules_), log_(other.log_) {}
  BatchBuilder& operator=(const BatchBuilder&) = delete;

  /// The batch if that was its last row. Throws Error of code Data when it cannot be made.
  std::optional<Batch> add(Row row);

 private:
  Batch build();
  std::vector<const Sample*> good_rows(std::vector<BadSample>& bad);

  BadRows bad_rows_;
  CollateRules rules_;
  std::shared_ptr<BadSampleLog> log_;
  std::vector<Row> rows_;
};

}  // namespace creel::pipeline::detail
