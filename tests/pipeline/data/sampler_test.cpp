#include <creel/pipeline/data/sampler.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

using creel::pipeline::Position;
using creel::pipeline::Sampler;
using creel::pipeline::SamplerOptions;

namespace {

std::vector<std::int64_t> rows(Sampler& sampler, const Position& at) {
  const auto span = sampler.rows(at);
  return {span.begin(), span.end()};
}

}  // namespace

TEST_CASE("an epoch takes each sample at most once and drops what does not fill a global batch") {
  Sampler sampler({.samples = 103, .batch = 10, .seed = 5});
  CHECK(sampler.steps_per_epoch() == 10);
  std::set<std::int64_t> seen;
  for (std::int64_t step = 0; step < 10; ++step) {
    for (const std::int64_t row : rows(sampler, {.step = step})) {
      CHECK(row >= 0);
      CHECK(row < 103);
      CHECK(seen.insert(row).second);
    }
  }
  CHECK(seen.size() == 100);
}

TEST_CASE("ranks share a global batch in their order: two of 8 see what one of 16 sees") {
  const SamplerOptions whole{.samples = 100, .batch = 16, .seed = 9};
  Sampler one(whole);
  for (std::int64_t step = 0; step < one.steps_per_epoch(); ++step) {
    std::vector<std::int64_t> together;
    for (const std::int64_t rank : {0, 1}) {
      Sampler part({.samples = 100, .batch = 8, .rank = rank, .ranks = 2, .seed = 9});
      CHECK(part.steps_per_epoch() == one.steps_per_epoch());
      const auto mine = rows(part, {.epoch = 3, .step = step});
      together.insert(together.end(), mine.begin(), mine.end());
    }
    CHECK(together == rows(one, {.epoch = 3, .step = step}));
  }
}

TEST_CASE("each epoch and each seed has an order of its own, whatever came before") {
  Sampler sampler({.samples = 64, .batch = 64, .seed = 1});
  const auto first = rows(sampler, {.epoch = 0});
  const auto second = rows(sampler, {.epoch = 1});
  CHECK(first != second);
  CHECK(rows(sampler, {.epoch = 0}) == first);
  Sampler fresh({.samples = 64, .batch = 64, .seed = 1});
  CHECK(rows(fresh, {.epoch = 1}) == second);
  Sampler other({.samples = 64, .batch = 64, .seed = 2});
  CHECK(rows(other, {.epoch = 0}) != first);
}

TEST_CASE("a shuffle puts every sample everywhere") {
  std::set<std::int64_t> first_rows;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Sampler sampler({.samples = 8, .batch = 1, .seed = seed});
    first_rows.insert(rows(sampler, {}).front());
  }
  CHECK(first_rows.size() == 8);
}

TEST_CASE("without shuffle and drop_last every sample comes once, in its order") {
  Sampler sampler({.samples = 10, .batch = 4, .shuffle = false, .drop_last = false});
  CHECK(sampler.steps_per_epoch() == 3);
  CHECK(rows(sampler, {.step = 0}) == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK(rows(sampler, {.step = 2}) == std::vector<std::int64_t>{8, 9});
  Sampler second({.samples = 10, .batch = 4, .rank = 1, .ranks = 2, .shuffle = false, .drop_last = false});
  CHECK(rows(second, {.step = 0}) == std::vector<std::int64_t>{4, 5, 6, 7});
  CHECK(rows(second, {.step = 1}).empty());
}

TEST_CASE("positions follow each other across epochs") {
  const Sampler sampler({.samples = 20, .batch = 10});
  CHECK(sampler.next({.epoch = 0, .step = 0}) == Position{.epoch = 0, .step = 1});
  CHECK(sampler.next({.epoch = 0, .step = 1}) == Position{.epoch = 1, .step = 0});
}

TEST_CASE("too few samples and ranks that are not there are refused") {
  CHECK_THROWS_WITH_AS(
      Sampler({.samples = 100, .batch = 64, .ranks = 2}),
      "the data has 100 samples, fewer than one batch of 64 for each of 2 ranks; make data.batch smaller",
      creel::Error);
  CHECK_THROWS_AS(Sampler({.samples = 100, .batch = 1, .rank = 2, .ranks = 2}), creel::Error);
  CHECK_THROWS_AS(Sampler({.samples = 0, .batch = 1, .drop_last = false}), creel::Error);
}
