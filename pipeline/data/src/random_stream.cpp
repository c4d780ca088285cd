#include <creel/pipeline/data/random_stream.hpp>

namespace creel::pipeline {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint32_t low(std::uint64_t value) noexcept { return static_cast<std::uint32_t>(value); }
constexpr std::uint32_t high(std::uint64_t value) noexcept {
  return static_cast<std::uint32_t>(value >> 32U);
}

}  // namespace

std::array<std::uint32_t, 4> RandomStream::philox(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key) noexcept {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {high(b) ^ counter[1] ^ key[0], low(b), high(a) ^ counter[3] ^ key[1], low(a)};
    key[0] += 0x9E3779B9;  // golden ratio
    key[1] += 0xBB67AE85;  // sqrt(3) - 1
  }
  return counter;
}

// The counter's first word runs from the purpose's own start, 65,536 blocks to each; the rest says whose
// numbers they are.
RandomStream::RandomStream(const RandomKey& key) noexcept
    : counter_{std::uint32_t{key.purpose} << 16U, key.epoch, low(key.sample), high(key.sample)},
      key_{low(key.seed), high(key.seed)} {}

std::uint32_t RandomStream::operator()() noexcept {
  if (used_ == block_.size()) {
    block_ = philox(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[used_++];
}

std::uint64_t RandomStream::next64() noexcept {
  const std::uint64_t first = (*this)();
  return first << 32U | (*this)();
}

float RandomStream::uniform(float from, float to) noexcept {
  constexpr float kScale = 1.0F / (1U << 24U);
  return from + (to - from) * (static_cast<float>((*this)() >> 8U) * kScale);
}

// Lemire 2019, "Fast random integer generation in an interval": the high half of a product, with the few
// values that would be too frequent drawn again.
std::uint64_t RandomStream::below(std::uint64_t bound) noexcept {
  Wide product = Wide{next64()} * bound;
  if (static_cast<std::uint64_t>(product) < bound) {
    const std::uint64_t threshold = -bound % bound;
    while (static_cast<std::uint64_t>(product) < threshold) product = Wide{next64()} * bound;
  }
  return static_cast<std::uint64_t>(product >> 64U);
}

}  // namespace creel::pipeline
