#include <creel/pipeline/data/random_stream.hpp>
#include <creel/pipeline/data/sampler.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <numeric>
#include <string>
#include <utility>

namespace creel::pipeline {
namespace {

std::int64_t count_steps(const SamplerOptions& options) {
  if (options.batch < 1 || options.ranks < 1 || options.rank < 0 || options.rank >= options.ranks) {
    throw Error("no sampler for batch " + std::to_string(options.batch) + " of rank " +
                    std::to_string(options.rank) + " in " + std::to_string(options.ranks) + " ranks",
                ErrorCode::Config);
  }
  const std::int64_t global = options.batch * options.ranks;
  return options.drop_last ? options.samples / global : (options.samples + global - 1) / global;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options) : options_(options), steps_(count_steps(options)) {
  if (steps_ > 0) return;
  throw Error("the data has " + std::to_string(options.samples) + " samples, fewer than one batch of " +
                  std::to_string(options.batch) + " for each of " + std::to_string(options.ranks) +
                  " ranks; make data.batch smaller",
              ErrorCode::Data);
}

std::span<const std::int64_t> Sampler::rows(const Position& position) {
  if (position.epoch != ordered_epoch_) order_epoch(position.epoch);
  const std::int64_t first = (position.step * options_.ranks + options_.rank) * options_.batch;
  const std::int64_t from = std::min(first, options_.samples);
  const std::int64_t to = std::min(first + options_.batch, options_.samples);
  return std::span(order_).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
}

Position Sampler::next(Position position) const noexcept {
  ++position.step;
  if (position.step >= steps_) position = {.epoch = position.epoch + 1, .step = 0};
  return position;
}

// Fisher-Yates, from the natural order each time: an epoch's order does not depend on the epochs before it.
void Sampler::order_epoch(std::int64_t epoch) {
  order_.resize(static_cast<std::size_t>(options_.samples));
  std::iota(order_.begin(), order_.end(), 0);
  if (options_.shuffle) {
    RandomStream random(
        {.seed = options_.seed, .sample = RandomKey::kWholeSet, .epoch = static_cast<std::uint32_t>(epoch)});
    for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[random.below(i)]);
  }
  ordered_epoch_ = epoch;
}

}  // namespace creel::pipeline
