#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace creel::models {

/// Text to token ids and back. Free of LibTorch. All members may be called from any number of threads at
/// once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// All ids of a text, start and end included, however many. Text is UTF-8; bytes that are not become
  /// U+FFFD.
  virtual std::vector<std::int64_t> encode(std::string_view text) const = 0;

  /// Exactly `context` ids: cut so that the end token stays, or padded with pad_id(). Throws Error if context
  /// < 2.
  std::vector<std::int64_t> encode(std::string_view text, std::int64_t context) const;

  /// The text of some ids, without start, end and padding; blanks between words may differ from the original.
  /// Throws Error of code Data for an id outside the vocabulary.
  virtual std::string decode(std::span<const std::int64_t> ids) const = 0;

  virtual std::int64_t vocabulary_size() const noexcept = 0;
  virtual std::int64_t start_id() const noexcept = 0;
  virtual std::int64_t end_id() const noexcept = 0;
  virtual std::int64_t pad_id() const noexcept = 0;

  /// Writes the files from which Hugging Face's AutoTokenizer.from_pretrained(folder) makes the same
  /// tokenizer with `context` as its length, and load_tokenizer too. The folder must exist.
  virtual void save(const std::filesystem::path& folder, std::int64_t context) const = 0;
};

/// CLIP's byte-level BPE from its list of merges (bpe_simple_vocab_16e6.txt.gz). Ids are those of Hugging
/// Face's CLIPTokenizer: NFC, white space folded, lower case; no repair of broken Unicode and no HTML
/// unescaping. Source: Sennrich et al. 2016, algorithm 1; Radford et al. 2019, section 2.2 (bytes).
std::unique_ptr<Tokenizer> load_clip_merges(const std::filesystem::path& merges_gz);

/// The tokenizer that a folder in Hugging Face layout holds (vocab.json, merges.txt). Throws Error: code
/// Missing if a file is not there, Data if its content is not such a vocabulary.
std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& folder);

/// CLIP's merges as creel ships them: $CREEL_SHARE, then share/creel beside the program's folder, then the
/// source tree. Throws Error of code Missing that lists the places.
std::filesystem::path default_bpe_vocabulary();

}  // namespace creel::models
