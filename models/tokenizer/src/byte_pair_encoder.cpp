#include "byte_pair_encoder.hpp"

#include <creel/runtime/error.hpp>

#include <functional>
#include <queue>
#include <tuple>

namespace creel::models::detail {

namespace {

constexpr std::size_t max_cached_word = 64;  // bytes; longer ones are seldom seen twice
constexpr std::size_t max_words_of_shard = 1 << 14;

std::uint64_t pair_key(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

}  // namespace

BytePairEncoder::BytePairEncoder(const Vocabulary& vocabulary, const std::string& origin) {
  std::unordered_map<std::string_view, std::int32_t> ids;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    ids.emplace(vocabulary.tokens[id], static_cast<std::int32_t>(id));
  }
  const auto id_of = [&](const std::string& token) {
    const auto found = ids.find(token);
    if (found == ids.end())
      throw Error(origin + ": '" + token + "' is used but is no token", ErrorCode::Data);
    return found->second;
  };
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const std::string symbol = byte_symbol(static_cast<unsigned char>(byte));
    byte_id_[byte] = id_of(symbol);
    last_byte_id_[byte] = id_of(symbol + "</w>");
  }
  merges_.reserve(vocabulary.merges.size());
  std::int32_t rank = 0;
  for (const auto& [left, right] : vocabulary.merges) {
    merges_.emplace(pair_key(id_of(left), id_of(right)), Merge{rank++, id_of(left + right)});
  }
}

void BytePairEncoder::encode(std::string_view word, std::vector<std::int64_t>& out) const {
  if (word.size() > max_cached_word) {
    const Ids ids = merge(word);
    out.insert(out.end(), ids.begin(), ids.end());
    return;
  }
  Shard& shard = shards_[std::hash<std::string_view>{}(word) % shards_.size()];
  {
    const std::lock_guard lock(shard.mutex);
    if (const auto known = shard.words.find(word); known != shard.words.end()) {
      out.insert(out.end(), known->second.begin(), known->second.end());
      return;
    }
  }
  Ids ids = merge(word);
  out.insert(out.end(), ids.begin(), ids.end());
  const std::lock_guard lock(shard.mutex);
  if (shard.words.size() >= max_words_of_shard) shard.words.clear();
  shard.words.emplace(word, std::move(ids));
}

const BytePairEncoder::Merge* BytePairEncoder::find(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

/// Merges the pair of lowest rank, the leftmost of equals, until none is left. With a heap over a linked
/// list, as a served text may be one word of a megabyte.
BytePairEncoder::Ids BytePairEncoder::merge(std::string_view word) const {
  struct Symbol {
    std::int32_t id;
    std::int32_t previous;
    std::int32_t next;
  };
  using Candidate = std::tuple<std::int32_t, std::int32_t, std::int32_t,
                               std::int32_t>;  // rank, left place, left id, right id
  const auto size = static_cast<std::int32_t>(word.size());
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (std::int32_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<std::size_t>(i)]);
    symbols.push_back(
        {i + 1 == size ? last_byte_id_[byte] : byte_id_[byte], i - 1, i + 1 == size ? -1 : i + 1});
  }
  const auto at = [&symbols](std::int32_t place) -> Symbol& {
    return symbols[static_cast<std::size_t>(place)];
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](std::int32_t left) {
    if (left < 0 || at(left).next < 0) return;
    const std::int32_t right_id = at(at(left).next).id;
    if (const Merge* found = find(at(left).id, right_id))
      candidates.emplace(found->rank, left, at(left).id, right_id);
  };
  for (std::int32_t i = 0; i < size; ++i) consider(i);
  while (!candidates.empty()) {
    const auto [rank, left, left_id, right_id] = candidates.top();
    candidates.pop();
    const std::int32_t right = at(left).next;
    if (at(left).id != left_id || right < 0 || at(right).id != right_id)
      continue;  // a neighbour was merged meanwhile
    at(left).id = find(left_id, right_id)->id;
    at(left).next = at(right).next;
    if (at(right).next >= 0) at(at(right).next).previous = left;
    at(right).id = -1;
    consider(at(left).previous);
    consider(left);
  }
  Ids ids;
  for (std::int32_t place = 0; place >= 0; place = at(place).next) ids.push_back(at(place).id);
  return ids;
}

}  // namespace creel::models::detail
