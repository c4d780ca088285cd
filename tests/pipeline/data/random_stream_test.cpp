#include <creel/pipeline/data/random_stream.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

using creel::pipeline::RandomKey;
using creel::pipeline::RandomStream;

TEST_CASE("Philox gives the numbers that its authors published") {
  using Four = std::array<std::uint32_t, 4>;
  CHECK(RandomStream::philox({0, 0, 0, 0}, {0, 0}) == Four{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(RandomStream::philox({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}) ==
        Four{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(RandomStream::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Four{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("streams of different keys differ, those of equal keys do not") {
  const std::vector<RandomKey> keys{{},
                                    {.seed = 1},
                                    {.sample = 1},
                                    {.epoch = 1},
                                    {.purpose = 1},
                                    {.seed = 1ULL << 32U},
                                    {.sample = 1ULL << 32U}};
  std::set<std::uint64_t> firsts;
  for (const RandomKey& key : keys) {
    RandomStream stream(key);
    RandomStream again(key);
    const std::uint64_t first = stream.next64();
    CHECK(first == again.next64());
    CHECK(stream.next64() != first);
    firsts.insert(first);
  }
  CHECK(firsts.size() == keys.size());
}

TEST_CASE("uniform stays in its range and fills it evenly") {
  RandomStream random({.seed = 3});
  std::array<int, 10> counts{};
  for (int i = 0; i < 100000; ++i) {
    const float value = random.uniform(-1, 1);
    REQUIRE(value >= -1);
    REQUIRE(value < 1);
    ++counts[static_cast<std::size_t>((value + 1) * 5)];
  }
  CHECK(*std::min_element(counts.begin(), counts.end()) > 9600);
  CHECK(*std::max_element(counts.begin(), counts.end()) < 10400);
}

TEST_CASE("below gives every value of its range, each as often") {
  RandomStream random({.seed = 4});
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts.at(random.below(7));
  CHECK(*std::min_element(counts.begin(), counts.end()) > 9600);
  CHECK(*std::max_element(counts.begin(), counts.end()) < 10400);
  CHECK(RandomStream({}).below(1) == 0);
}
