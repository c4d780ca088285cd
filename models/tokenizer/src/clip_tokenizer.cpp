#include "byte_pair_encoder.hpp"
#include "clip_text.hpp"
#include "vocabulary.hpp"

#include <creel/models/tokenizer.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <utility>

namespace creel::models {

namespace {

class ClipTokenizer final : public Tokenizer {
 public:
  ClipTokenizer(detail::Vocabulary vocabulary, const std::string& origin)
      : vocabulary_(std::move(vocabulary)),
        encoder_(vocabulary_, origin),
        start_(id_of(detail::start_token, origin)),
        end_(id_of(detail::end_token, origin)),
        pad_(id_of(vocabulary_.pad, origin)) {}

  using Tokenizer::encode;

  std::vector<std::int64_t> encode(std::string_view text) const override {
    std::vector<std::int64_t> ids{start_};
    // Special tokens written out in the text are those tokens; what is between them is text of its own.
    while (true) {
      const auto [place, id, length] = next_special(text);
      encode_plain(text.substr(0, place), ids);
      if (length == 0) break;
      ids.push_back(id);
      text.remove_prefix(place + length);
    }
    ids.push_back(end_);
    return ids;
  }

  std::string decode(std::span<const std::int64_t> ids) const override;

  std::int64_t vocabulary_size() const noexcept override {
    return static_cast<std::int64_t>(vocabulary_.tokens.size());
  }
  std::int64_t start_id() const noexcept override { return start_; }
  std::int64_t end_id() const noexcept override { return end_; }
  std::int64_t pad_id() const noexcept override { return pad_; }

  void save(const std::filesystem::path& folder, std::int64_t context) const override {
    detail::write_huggingface(vocabulary_, folder, context);
  }

 private:
  struct Special {
    std::size_t place;
    std::int64_t id;
    std::size_t length;  ///< 0: there is none
  };

  Special next_special(std::string_view text) const {
    const std::size_t start = text.find(detail::start_token);
    const std::size_t end = text.find(detail::end_token);
    if (start == end) return {text.size(), 0, 0};  // both npos
    if (start < end) return {start, start_, std::string_view(detail::start_token).size()};
    return {end, end_, std::string_view(detail::end_token).size()};
  }

  void encode_plain(std::string_view text, std::vector<std::int64_t>& ids) const {
    const std::string normal = detail::normalize(text);
    for (const std::string_view word : detail::split_words(normal)) encoder_.encode(word, ids);
  }

  std::int64_t id_of(const std::string& token, const std::string& origin) const {
    const auto found = std::find(vocabulary_.tokens.begin(), vocabulary_.tokens.end(), token);
    if (found == vocabulary_.tokens.end())
      throw Error(origin + ": has no token '" + token + "'", ErrorCode::Data);
    return found - vocabulary_.tokens.begin();
  }

  detail::Vocabulary vocabulary_;
  detail::BytePairEncoder encoder_;
  std::int64_t start_;
  std::int64_t end_;
  std::int64_t pad_;
};

/// The bytes of a token; "</w>" becomes a blank.
std::string token_bytes(std::string_view token) {
  std::string bytes;
  const bool ends_word = token.ends_with("</w>");
  if (ends_word) token.remove_suffix(4);
  for (std::size_t i = 0; i < token.size();) {
    const auto first = static_cast<unsigned char>(token[i]);
    std::int32_t code_point = first;
    if (first >= 0x80 && i + 1 < token.size()) {  // symbols are below U+0200: one or two bytes
      code_point = (first & 0x1F) << 6 | (static_cast<unsigned char>(token[i + 1]) & 0x3F);
    }
    i += first >= 0x80 ? 2 : 1;
    if (const int byte = detail::symbol_byte(code_point); byte >= 0) bytes.push_back(static_cast<char>(byte));
  }
  if (ends_word) bytes.push_back(' ');
  return bytes;
}

std::string ClipTokenizer::decode(std::span<const std::int64_t> ids) const {
  std::string bytes;
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= vocabulary_size()) {
      throw Error("token id " + std::to_string(id) + " is outside the vocabulary of " +
                      std::to_string(vocabulary_size()),
                  ErrorCode::Data);
    }
    if (id == start_ || id == end_ || id == pad_) continue;
    bytes += token_bytes(vocabulary_.tokens[static_cast<std::size_t>(id)]);
  }
  while (!bytes.empty() && bytes.back() == ' ') bytes.pop_back();
  return detail::repair_utf8(bytes);  // ids cut in the middle of a character
}

}  // namespace

std::unique_ptr<Tokenizer> load_clip_merges(const std::filesystem::path& merges_gz) {
  return std::make_unique<ClipTokenizer>(detail::read_clip_merges(merges_gz), merges_gz.string());
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder) {
  return std::make_unique<ClipTokenizer>(detail::read_huggingface(folder), folder.string());
}

}  // namespace creel::models
