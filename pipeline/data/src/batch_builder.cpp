#include "batch_builder.hpp"

#include <creel/runtime/error.hpp>

namespace creel::pipeline::detail {

std::optional<Batch> BatchBuilder::add(Row row) {
  CREEL_ASSERT(row.number == static_cast<std::int64_t>(rows_.size()), "rows come in order");
  const std::int64_t of = row.of;
  rows_.push_back(std::move(row));
  if (static_cast<std::int64_t>(rows_.size()) < of) return std::nullopt;
  Batch batch = build();
  rows_.clear();
  return batch;
}

// A bad row is filled by the next good one of its batch, around the end: it depends on this batch alone, so
// that every other row, step and rank stays as it was, and a resumed run does the same.
std::vector<const Sample*> BatchBuilder::good_rows(std::vector<BadSample>& bad) {
  std::vector<const Sample*> samples;
  for (const Row& row : rows_) {
    if (row.sample) {
      samples.push_back(&*row.sample);
      continue;
    }
    bad.push_back({.key = row.key, .why = row.sample.failure().message});
    log_->add(bad.back());
    if (bad_rows_ == BadRows::Replace) samples.push_back(nullptr);
  }
  for (std::size_t i = 0; i < samples.size(); ++i) {
    for (std::size_t step = 1; samples[i] == nullptr && step < rows_.size(); ++step) {
      const Row& next = rows_[(i + step) % rows_.size()];
      if (next.sample) samples[i] = &*next.sample;
    }
  }
  return samples;
}

Batch BatchBuilder::build() {
  std::vector<BadSample> bad;
  const std::vector<const Sample*> samples = good_rows(bad);
  if (!samples.empty() && samples.front() == nullptr) {
    throw Error("no sample of epoch " + std::to_string(rows_.front().position.epoch) + ", step " +
                    std::to_string(rows_.front().position.step) + " can be used; the first is " +
                    bad.front().key + " (" + bad.front().why + ")",
                ErrorCode::Data);
  }
  Result<Batch> batch = collate(samples, rules_);
  if (!batch)
    throw Error("the rows of a batch do not fit together: " + batch.failure().message, ErrorCode::Data);
  batch->position = rows_.front().position;
  batch->bad = std::move(bad);
  return *std::move(batch);
}

}  // namespace creel::pipeline::detail
