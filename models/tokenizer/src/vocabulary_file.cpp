#include "vocabulary.hpp"

#include <creel/models/tokenizer.hpp>
#include <creel/runtime/atomic_file.hpp>
#include <creel/runtime/error.hpp>

#include <nlohmann/json.hpp>
#include <zlib.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>

namespace creel::models {

namespace detail {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t clip_merges =
    49408 - 2 * 256 - 2;  // all ids but bytes, bytes that end a word, start and end

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& why) {
  throw Error(path.string() + ": " + why, ErrorCode::Data);
}

std::string read_gzip(const std::filesystem::path& path) {
  struct Close {
    void operator()(gzFile file) const { gzclose(file); }
  };
  const std::unique_ptr<gzFile_s, Close> file(gzopen(path.c_str(), "rb"));
  if (!file) throw Error(path.string() + ": cannot be read (is it there?)", ErrorCode::Missing);
  std::string text;
  std::array<char, 1 << 16> block;
  int got = 0;
  while ((got = gzread(file.get(), block.data(), block.size())) > 0)
    text.append(block.data(), static_cast<std::size_t>(got));
  int error_number = Z_OK;
  const char* message = gzerror(file.get(), &error_number);
  // A truncated file ends without an error from gzread; the state of the stream knows.
  if (got < 0 || error_number != Z_OK) refuse(path, std::string("not a whole gzip file: ") + message);
  return text;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path.string() + ": cannot be read (is it there?)", ErrorCode::Missing);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

/// Lines `left right` after a header line, at most `limit`.
std::vector<std::pair<std::string, std::string>> parse_merges(const std::string& text, std::size_t limit,
                                                              const std::filesystem::path& path) {
  std::vector<std::pair<std::string, std::string>> merges;
  std::istringstream lines(text);
  std::string line;
  std::size_t number = 0;
  while (merges.size() < limit && std::getline(lines, line)) {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || (number == 1 && line.find("#version") != std::string::npos)) continue;
    const std::size_t blank = line.find(' ');
    if (blank == 0 || blank == std::string::npos || blank + 1 == line.size() ||
        line.find(' ', blank + 1) != std::string::npos) {
      refuse(path, "line " + std::to_string(number) + " is not a merge of two symbols");
    }
    merges.emplace_back(line.substr(0, blank), line.substr(blank + 1));
  }
  return merges;
}

std::vector<std::string> read_tokens(const std::filesystem::path& path) {
  json parsed;
  try {
    parsed = json::parse(read_text(path));
  } catch (const json::exception& error) {
    refuse(path, error.what());
  }
  if (!parsed.is_object() || parsed.empty()) refuse(path, "not an object of tokens and ids");
  std::vector<std::string> tokens(parsed.size());
  for (const auto& [token, id] : parsed.items()) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= tokens.size()) {
      refuse(path, "token '" + token + "' has the id " + id.dump() + "; ids must be 0 to " +
                       std::to_string(tokens.size() - 1));
    }
    std::string& place = tokens[id.get<std::size_t>()];
    if (!place.empty())
      refuse(path, "tokens '" + place + "' and '" + token + "' have the same id " + id.dump());
    place = token;
  }
  return tokens;
}

/// A token's text as the tokenizer files give it: plain, or an object with the key content.
std::string token_text(const json& config, const char* key, const std::string& otherwise) {
  const auto found = config.find(key);
  if (found == config.end()) return otherwise;
  if (found->is_string()) return found->get<std::string>();
  return found->is_object() ? found->value("content", otherwise) : otherwise;
}

}  // namespace

Vocabulary read_clip_merges(const std::filesystem::path& merges_gz) {
  Vocabulary vocabulary;
  vocabulary.merges = parse_merges(read_gzip(merges_gz), clip_merges, merges_gz);
  if (vocabulary.merges.size() != clip_merges) {
    refuse(merges_gz, "holds " + std::to_string(vocabulary.merges.size()) + " merges; CLIP needs " +
                          std::to_string(clip_merges));
  }
  for (const char* ending : {"", "</w>"}) {
    for (const unsigned char byte : bytes_in_order()) vocabulary.tokens.push_back(byte_symbol(byte) + ending);
  }
  for (const auto& [left, right] : vocabulary.merges) vocabulary.tokens.push_back(left + right);
  vocabulary.tokens.emplace_back(start_token);
  vocabulary.tokens.emplace_back(end_token);
  return vocabulary;
}

Vocabulary read_huggingface(const std::filesystem::path& folder) {
  Vocabulary vocabulary;
  vocabulary.tokens = read_tokens(folder / "vocab.json");
  const std::filesystem::path merges = folder / "merges.txt";
  vocabulary.merges = parse_merges(read_text(merges), vocabulary.tokens.size(), merges);
  const std::filesystem::path config = folder / "tokenizer_config.json";
  if (std::filesystem::exists(config)) {
    try {
      vocabulary.pad = token_text(json::parse(read_text(config)), "pad_token", end_token);
    } catch (const json::exception& error) {
      refuse(config, error.what());
    }
  }
  return vocabulary;
}

void write_huggingface(const Vocabulary& vocabulary, const std::filesystem::path& folder,
                       std::int64_t context) {
  ordered_json tokens = ordered_json::object();
  // Straight into the underlying list: operator[] of an ordered object searches it, 49,408 times.
  auto& entries = tokens.get_ref<ordered_json::object_t&>();
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    entries.ordered_json::object_t::Container::emplace_back(vocabulary.tokens[id], id);
  }
  std::string merges = "#version: 0.2\n";
  for (const auto& [left, right] : vocabulary.merges)
    merges.append(left).append(" ").append(right).append("\n");

  const ordered_json special = {{"bos_token", start_token},
                                {"eos_token", end_token},
                                {"unk_token", end_token},
                                {"pad_token", vocabulary.pad}};
  ordered_json config = {{"tokenizer_class", "CLIPTokenizer"},
                         {"model_max_length", context},
                         {"do_lower_case", true},
                         {"add_prefix_space", false},
                         {"errors", "replace"},
                         {"clean_up_tokenization_spaces", false}};
  config.update(special);

  write_file_atomically(folder / "vocab.json", tokens.dump());
  write_file_atomically(folder / "merges.txt", merges);
  write_file_atomically(folder / "special_tokens_map.json", special.dump(2) + "\n");
  write_file_atomically(folder / "tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace detail

std::filesystem::path default_bpe_vocabulary() {
  const std::filesystem::path name = "bpe_simple_vocab_16e6.txt.gz";
  std::vector<std::filesystem::path> places;
  if (const char* share = std::getenv("CREEL_SHARE")) places.emplace_back(share);
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) places.push_back(program.parent_path().parent_path() / "share" / "creel");
  places.emplace_back(CREEL_TOKENIZER_ASSETS);
  std::string tried;
  for (const std::filesystem::path& place : places) {
    if (std::filesystem::exists(place / name, ignored)) return place / name;
    tried += "\n  " + (place / name).string();
  }
  throw Error(
      "CLIP's vocabulary was not found; set CREEL_SHARE to the folder that holds it. Looked for:" + tried,
      ErrorCode::Missing);
}

}  // namespace creel::models
