#include "bad_sample_log.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace creel::pipeline::detail {

void BadSampleLog::begin_epoch(std::int64_t epoch, std::int64_t bad_before) {
  const std::lock_guard guard(lock_);
  if (epoch == epoch_) return;
  epoch_ = epoch;
  in_epoch_ = bad_before;
}

void BadSampleLog::add(const BadSample& bad) {
  const std::lock_guard guard(lock_);
  ++in_epoch_;
  if (keys_.insert(bad.key).second) {  // once, not in every epoch again
    if (named_.size() < BadSamples::kNamed) named_.push_back(bad);
    log::warn("sample.bad", {{"item", bad.key}, {"why", bad.why}});
  }
  if (static_cast<double>(in_epoch_) <= max_bad_ * static_cast<double>(rows_)) return;
  std::array<char, 32> share{};
  std::to_chars(share.data(), share.data() + share.size() - 1, max_bad_);
  throw Error("too many bad samples: " + std::to_string(in_epoch_) + " of the " + std::to_string(rows_) +
                  " rows of epoch " + std::to_string(epoch_) + ", more than data.max_bad " + share.data() +
                  "; the last one is " + bad.key + " (" + bad.why + "); mend the data or allow more",
              ErrorCode::Data);
}

BadSamples BadSampleLog::seen() const {
  const std::lock_guard guard(lock_);
  return {.count = static_cast<std::int64_t>(keys_.size()), .samples = named_};
}

}  // namespace creel::pipeline::detail
