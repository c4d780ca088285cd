#include <creel/pipeline/config/shard_pattern.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

using creel::pipeline::expand_shards;
using Paths = std::vector<std::string>;

TEST_CASE("a pattern names its files in order") {
  CHECK(expand_shards("a.tar") == Paths{"a.tar"});
  CHECK(expand_shards("a-{000..002}.tar") == Paths{"a-000.tar", "a-001.tar", "a-002.tar"});
  CHECK(expand_shards("{8..10}") == Paths{"8", "9", "10"});
  CHECK(expand_shards("{0..1}/{5..6}x") == Paths{"0/5x", "0/6x", "1/5x", "1/6x"});
}

TEST_CASE("a pattern that is none is refused") {
  for (const char* pattern : {"a-{0..", "a-{}", "a-{1}", "a-{3..1}", "a-{x..y}", "a-{-1..2}", "a-{1..2,5}",
                              "a-{0..99999999}", "{0..9999}{0..9999}", "{0..9223372036854775807}"}) {
    CAPTURE(pattern);
    CHECK_THROWS_AS(expand_shards(pattern), creel::Error);
  }
}
