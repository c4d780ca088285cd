#pragma once

#include "vocabulary.hpp"

#include <array>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace creel::models::detail {

/// Byte-pair encoding of single words. Keeps the ids of words seen, so that the same few words of a data set
/// are merged once; safe from any thread.
class BytePairEncoder {
 public:
  using Ids = std::vector<std::int32_t>;

  /// Throws Error of code Data, naming `origin`, if a byte or the outcome of a merge is no token.
  BytePairEncoder(const Vocabulary& vocabulary, const std::string& origin);

  /// Appends the ids of one word (UTF-8, not empty).
  void encode(std::string_view word, std::vector<std::int64_t>& out) const;

 private:
  struct Merge {
    std::int32_t rank;
    std::int32_t id;
  };

  struct WordHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const noexcept {
      return std::hash<std::string_view>{}(word);
    }
  };

  /// Words are spread over several maps with a lock each, so that loader threads seldom meet.
  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, Ids, WordHash, std::equal_to<>> words;
  };

  Ids merge(std::string_view word) const;
  const Merge* find(std::int32_t left, std::int32_t right) const;

  std::array<std::int32_t, 256> byte_id_{};
  std::array<std::int32_t, 256> last_byte_id_{};
  std::unordered_map<std::uint64_t, Merge> merges_;  // key: left id, right id
  mutable std::array<Shard, 16> shards_;
};

}  // namespace creel::models::detail
