// CLIP's tokenizer against Hugging Face's and open_clip's ids.

#include <creel/models/tokenizer.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

using namespace creel::models;
using creel_test::TemporaryFolder;
using nlohmann::json;
using Ids = std::vector<std::int64_t>;

namespace {

const std::filesystem::path& golden() {
  static const std::filesystem::path folder =
      std::filesystem::path(CREEL_SOURCE_DIR) / "tests/golden/tok-clip-bpe";
  return folder;
}

json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return json::parse(file);
}

/// Rows of an int64 tensor of a safetensors file: this binary does not link LibTorch, and the format is
/// simple.
std::vector<Ids> rows(const std::string& name) {
  std::ifstream file(golden() / "outputs.safetensors", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  const json entry = json::parse(bytes.substr(8, header_size)).at(name);
  const auto count = entry["shape"][0].get<std::size_t>();
  const std::size_t width = entry["shape"].size() > 1 ? entry["shape"][1].get<std::size_t>() : 1;
  const std::size_t start = 8 + header_size + entry["data_offsets"][0].get<std::size_t>();
  std::vector<Ids> out(count, Ids(width));
  for (std::size_t i = 0; i < count; ++i)
    std::memcpy(out[i].data(), bytes.data() + start + i * width * 8, width * 8);
  return out;
}

const Tokenizer& clip() {
  static const std::unique_ptr<Tokenizer> tokenizer = load_clip_merges(default_bpe_vocabulary());
  return *tokenizer;
}

std::vector<std::string> texts() {
  return read_json(golden() / "texts.json").get<std::vector<std::string>>();
}

void check_ids(const Tokenizer& tokenizer) {
  const std::vector<Ids> whole = rows("ids"), lengths = rows("lengths"), fixed = rows("input_ids77");
  const std::vector<std::string> lines = texts();
  REQUIRE(lines.size() == whole.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Ids expected(whole[i].begin(), whole[i].begin() + lengths[i][0]);
    CHECK_MESSAGE(tokenizer.encode(lines[i]) == expected, lines[i]);
    CHECK_MESSAGE(tokenizer.encode(lines[i], 77) == fixed[i], lines[i]);
  }
}

}  // namespace

TEST_CASE("ids are Hugging Face's, nasty texts included") { check_ids(clip()); }

TEST_CASE("a context pads with the end token and cuts before it") {
  CHECK(clip().encode("a photo", 6) == Ids{49406, 320, 1125, 49407, 49407, 49407});
  CHECK(clip().encode("a photo of the digit", 4) == Ids{49406, 320, 1125, 49407});
  CHECK(clip().encode("", 2) == Ids{49406, 49407});
  CHECK_THROWS_AS(clip().encode("a", 1), creel::Error);
  CHECK(clip().vocabulary_size() == 49408);
  CHECK(clip().start_id() == 49406);
  CHECK(clip().end_id() == 49407);
  CHECK(clip().pad_id() == 49407);
}

TEST_CASE("ids decode to the reference's text") {
  const std::vector<Ids> ids = rows("open_clip.ids"), lengths = rows("open_clip.lengths");
  const auto decoded = read_json(golden() / "decoded.json").get<std::vector<std::string>>();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    std::string expected = decoded[i];
    while (!expected.empty() && expected.back() == ' ') expected.pop_back();
    CHECK(clip().decode(std::span(ids[i]).first(static_cast<std::size_t>(lengths[i][0]))) == expected);
  }
  CHECK(clip().decode(clip().encode("the number seven", 16)) == "the number seven");
  CHECK_THROWS_WITH_AS(clip().decode(Ids{49408}), doctest::Contains("49408 is outside"), creel::Error);
  CHECK_THROWS_AS(clip().decode(Ids{-1}), creel::Error);
}

TEST_CASE("bytes that are not UTF-8 become replacement characters") {
  CHECK(clip().encode("a\xff z\xc3") == clip().encode("a\xEF\xBF\xBD z\xEF\xBF\xBD"));
  CHECK(clip().encode(std::string_view("a\0b", 3)).size() == 5);
}

TEST_CASE("the saved files make the same tokenizer") {
  const TemporaryFolder folder;
  clip().save(folder.path(), 77);
  check_ids(*load_tokenizer(folder.path()));
  CHECK(read_json(folder / "tokenizer_config.json").at("model_max_length") == 77);
}

TEST_CASE("a padding token of its own is honoured") {
  const TemporaryFolder folder;
  clip().save(folder.path(), 77);
  json config = read_json(folder / "tokenizer_config.json");
  config["pad_token"] = {{"content", "!"}};
  std::ofstream(folder / "tokenizer_config.json") << config.dump();
  CHECK(load_tokenizer(folder.path())->encode("a", 5) == Ids{49406, 320, 49407, 0, 0});
}

TEST_CASE("broken vocabularies are refused by file and reason") {
  const TemporaryFolder folder;
  clip().save(folder.path(), 77);
  const auto refusal = [&folder] {
    try {
      load_tokenizer(folder.path());
    } catch (const creel::Error& error) {
      return std::string(error.what());
    }
    return std::string("was not refused");
  };
  const auto contains = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  std::ofstream(folder / "merges.txt") << "#version: 0.2\nt h\nonlyone\n";
  CHECK(contains(refusal(), "merges.txt: line 3 is not a merge"));
  std::ofstream(folder / "merges.txt") << "#version: 0.2\nthe the\n";
  CHECK(contains(refusal(), "'thethe' is used but is no token"));
  std::ofstream(folder / "vocab.json") << R"({"a": 0, "b": 0})";
  CHECK(contains(refusal(), "have the same id 0"));
  std::ofstream(folder / "vocab.json") << R"({"a": 7})";
  CHECK(contains(refusal(), "token 'a' has the id 7"));
  std::ofstream(folder / "vocab.json") << R"({"a")";
  CHECK(contains(refusal(), "vocab.json"));

  const std::filesystem::path cut = folder / "cut.txt.gz";
  std::ifstream whole(default_bpe_vocabulary(), std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(whole), {}};
  std::ofstream(cut, std::ios::binary) << bytes.substr(0, bytes.size() / 8);
  CHECK_THROWS_AS(load_clip_merges(cut), creel::Error);
  CHECK_THROWS_AS(load_clip_merges(folder / "none.gz"), creel::Error);
}

TEST_CASE("the vocabulary is found, and CREEL_SHARE comes first") {
  const TemporaryFolder folder;
  CHECK(std::filesystem::exists(default_bpe_vocabulary()));
  std::ofstream(folder / "bpe_simple_vocab_16e6.txt.gz") << "x";
  ::setenv("CREEL_SHARE", folder.path().c_str(), 1);
  CHECK(default_bpe_vocabulary() == folder / "bpe_simple_vocab_16e6.txt.gz");
  ::unsetenv("CREEL_SHARE");
}

TEST_CASE("threads share a tokenizer") {
  const std::vector<std::string> lines = texts();
  std::vector<Ids> expected;
  for (const std::string& line : lines) expected.push_back(clip().encode(line));
  const std::unique_ptr<Tokenizer> fresh = load_clip_merges(default_bpe_vocabulary());
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 20; ++round) {
        for (std::size_t i = 0; i < lines.size(); ++i) wrong[t] += fresh->encode(lines[i]) != expected[i];
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("a word of a megabyte takes no quadratic time") {
  std::string word;
  for (int i = 0; word.size() < 1'000'000; ++i) word += static_cast<char>('a' + (i * i) % 26);
  const auto start = std::chrono::steady_clock::now();
  CHECK(clip().encode(word).size() > 100'000);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}
