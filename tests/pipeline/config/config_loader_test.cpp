#include <creel/pipeline/config/config_issue.hpp>
#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/config/config_printer.hpp>
#include <creel/pipeline/config/transform_spec.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace creel::pipeline;

namespace {

// Line numbers below count in this text.
const std::string kGood = R"(name: tiny
data:
  source: {format: tar_shards, path: "a-{000..001}.tar"}
  batch: 8
transforms: decode | resize(32) | tokenize(bpe, 16)
model:
  name: clip
  image: {size: 32, patch: 8, width: 64, layers: 2, heads: 4}
  text: {context: 16, width: 64, layers: 2, heads: 4}
train: {epochs: 3, optimizer: {lr: 0.001}}
)";

LoadOptions without_files(std::vector<std::string> overrides = {}) {
  LoadOptions options;
  options.overrides = std::move(overrides);
  options.check_files = false;
  return options;
}

std::vector<std::string> errors_of(const std::string& text, const LoadOptions& options = without_files()) {
  try {
    parse_config(text, "run.yaml", options);
  } catch (const ConfigErrors& e) {
    CHECK(creel::exit_code(e.code()) == 2);
    std::vector<std::string> lines;
    for (const ConfigIssue& issue : e.issues()) lines.push_back(issue.text());
    return lines;
  }
  return {};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

void check_one(const std::string& text, const std::string& expected,
               const LoadOptions& options = without_files()) {
  const std::vector<std::string> errors = errors_of(text, options);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0] == expected);
}

}  // namespace

TEST_CASE("a good config fills every value, given and default") {
  const LoadedConfig loaded = parse_config(kGood, "/folder/run.yaml", without_files());
  const RunConfig& config = loaded.config;
  CHECK(config.name == "tiny");
  CHECK(config.data.train.path == "/folder/a-{000..001}.tar");
  CHECK(config.data.batch == 8);
  CHECK(config.data.prefetch == DataConfig().prefetch);
  CHECK(to_string(config.train_transforms) == "decode | resize(32) | tokenize(bpe, 16)");
  CHECK(to_string(config.eval_transforms) == to_string(config.train_transforms));
  CHECK(std::get<creel::models::ClipSpec>(config.model.options).image.patch == 8);
  CHECK(config.train.optimizer.lr == 0.001);
  CHECK(loaded.origins.at("data.batch") == "/folder/run.yaml:4");
  CHECK(loaded.origins.at("data.prefetch") == "default");
}

TEST_CASE("the run is named after the file unless it says otherwise") {
  const std::string text = replaced(kGood, "name: tiny\n", "");
  CHECK(parse_config(text, "/folder/clip_digits.yaml", without_files()).config.name == "clip_digits");
  const std::vector<std::string> errors = errors_of("name: ../up\n" + text);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0] ==
        "run.yaml:1:7: name: '../up' cannot name a folder; set name to letters, digits, _, - and . only");
}

TEST_CASE("each mistake has its place and its remedy") {
  check_one(replaced(kGood, "batch: 8", "bacth: 8"),
            "run.yaml:4:3: data.bacth: unknown key; did you mean data.batch?");
  check_one("batch: 3\n" + kGood, "run.yaml:1:1: batch: unknown key; did you mean data.batch?");
  check_one(replaced(kGood, "batch: 8", "batch: 8\n  batch: 9"),
            "run.yaml:5:3: data.batch: is given twice, first in line 4; remove one");
  check_one(replaced(kGood, "batch: 8", "batch: sixty"),
            "run.yaml:4:10: data.batch: is 'sixty', must be a whole number, at least 1 and at most 1000000");
  check_one(
      replaced(kGood, "batch: 8", "batch: \"8\""),
      "run.yaml:4:10: data.batch: is the text \"8\", must be a whole number, at least 1 and at most 1000000");
  check_one(replaced(kGood, "batch: 8", "batch: 8.5"),
            "run.yaml:4:10: data.batch: is '8.5', must be a whole number, at least 1 and at most 1000000");
  check_one(replaced(kGood, "batch: 8", "batch: -8"),
            "run.yaml:4:10: data.batch: is -8, must be at least 1 and at most 1000000");
  check_one(replaced(kGood, "batch: 8", "batch: 0"),
            "run.yaml:4:10: data.batch: is 0, must be at least 1 and at most 1000000");
  check_one(replaced(kGood, "batch: 8", "batch: 99999999999999999999"),
            "run.yaml:4:10: data.batch: is 99999999999999999999, must be at least 1 and at most 1000000");
  check_one(replaced(kGood, "batch: 8", "batch:"),
            "run.yaml:4:3: data.batch: has no value, must be a whole number, at least 1 and at most 1000000");
  check_one(replaced(kGood, "batch: 8", "batch: [8]"),
            "run.yaml:4:10: data.batch: is a list, must be a whole number, at least 1 and at most 1000000");
  check_one(replaced(kGood, "lr: 0.001", "lr: .nan"),
            "run.yaml:10:36: train.optimizer.lr: is NaN, must be a number, above 0");
  check_one(replaced(kGood, "lr: 0.001", "lr: -inf"),
            "run.yaml:10:36: train.optimizer.lr: is infinite, must be a number, above 0");
  check_one(replaced(kGood, "lr: 0.001", "lr: 0"),
            "run.yaml:10:36: train.optimizer.lr: is 0, must be above 0");
  check_one(
      replaced(kGood, "lr: 0.001", "lr: 1e999"),
      "run.yaml:10:36: train.optimizer.lr: is 1e999, beyond what a double holds; give it a smaller exponent");
  check_one(replaced(kGood, "  batch: 8\n", "").append("evaluate: {classes: yes}\n"),
            "run.yaml:10:21: evaluate.classes: is 'yes', must be a list of texts; write [first, second]");
}

TEST_CASE("names from a list are checked, with the nearest") {
  check_one(
      replaced(kGood, "tar_shards", "tar_shard"),
      "run.yaml:3:20: data.source.format: is 'tar_shard', must be tar_shards; did you mean tar_shards?");
  check_one(kGood + "parallel: {all_reduce: rings}\n",
            "run.yaml:11:24: parallel.all_reduce: is 'rings', must be auto or ring; did you mean ring?");
  const std::vector<std::string> errors = errors_of(replaced(kGood, "name: clip", "name: clap"));
  REQUIRE(errors.size() == 1);  // nothing about the keys of a model that nobody knows
  CHECK(errors[0] == "run.yaml:7:9: model.name: is 'clap', must be clip; did you mean clip?");
}

TEST_CASE("sections that are missing, empty or no sections") {
  check_one(replaced(kGood, "  source: {format: tar_shards, path: \"a-{000..001}.tar\"}\n", ""),
            "run.yaml:2:1: data.source: is missing; give it format, path");
  check_one(replaced(kGood, ", path: \"a-{000..001}.tar\"", ""),
            "run.yaml:3:3: data.source.path: is missing; add it: path");
  check_one(
      replaced(kGood, "train: {epochs: 3, optimizer: {lr: 0.001}}", "train:"),
      "run.yaml:10:1: train: has no value of the keys epochs, seed, steps, threads, optimizer, schedule; "
      "write them indented below it, or remove it");
  check_one(kGood + "checkpoint: 10\n",
            "run.yaml:11:13: checkpoint: is '10', must be a section of the keys every, keep; write them "
            "indented below it");
  check_one("", "run.yaml:1:1: is empty; `creel config` lists the keys that a run needs");
  check_one("# only a comment\n", "run.yaml:1:1: is empty; `creel config` lists the keys that a run needs");
  check_one(kGood + "data2: {}\n", "run.yaml:11:1: data2: unknown key; did you mean data?");
}

TEST_CASE("sizes that do not fit one another") {
  check_one(replaced(kGood, "layers: 2, heads: 4}\n  text", "layers: 2, heads: 6}\n  text"),
            "run.yaml:8:60: model.image.heads: 6 does not divide model.image.width 64; use 4 or 8");
  check_one(replaced(kGood, "patch: 8", "patch: 7"),
            "run.yaml:8:28: model.image.patch: 7 does not divide model.image.size 32; use 4 or 8");
  check_one(
      replaced(kGood, "context: 16", "context: 16, eos: 50000"),
      "run.yaml:9:28: model.text.eos: is 50000, but model.text.vocabulary has only 49408 ids; use one below");
  const std::vector<std::string> errors = errors_of(replaced(kGood, "resize(32)", "resize(48)"));
  REQUIRE(errors.size() == 2);  // train and eval, which share the text
  CHECK(errors[0] ==
        "run.yaml:5:22: transforms.train: resize(48) does not fit model.image.size 32; make them equal");
}

TEST_CASE("all mistakes are reported at once, in the order of their places") {
  std::string text = replaced(kGood, "batch: 8", "batch: none");
  text = replaced(text, "patch: 8", "patch: 7");
  text = replaced(text, "epochs", "epoch");
  text = replaced(text, "decode | ", "decode || ");
  const std::vector<std::string> errors = errors_of(text, without_files({"train.seed=-1", "nonsense"}));
  REQUIRE(errors.size() == 7);
  CHECK(errors[0].starts_with("run.yaml:4:10: data.batch: "));
  CHECK(errors[1].starts_with("run.yaml:5:21: transforms.train: expected the name of a transform"));
  CHECK(errors[2].starts_with("run.yaml:5:21: transforms.eval: "));
  CHECK(errors[3].starts_with("run.yaml:8:28: model.image.patch: "));
  CHECK(errors[4] == "run.yaml:10:9: train.epoch: unknown key; did you mean train.epochs?");
  CHECK(errors[5] == "--set nonsense: must be written --set key.path=value");
  CHECK(errors[6] == "--set train.seed=-1: train.seed: is -1, must be at least 0");
}

TEST_CASE("text that is no YAML is refused at its place") {
  const auto begins = [](const std::string& text, const std::string& start) {
    const std::vector<std::string> errors = errors_of(text);
    REQUIRE(errors.size() == 1);
    CHECK_MESSAGE(errors[0].starts_with(start), errors[0]);
  };
  begins("data: {batch: 8\ntrain: [1\n", "run.yaml:");
  begins("data:\n\tbatch: 8\n", "run.yaml:2:1: a tab indents this line; YAML takes spaces only");
  begins("a: *nowhere\n", "run.yaml:1:4: is not YAML: the referenced anchor is not defined");
  begins("a: &x {b: *x}\n", "run.yaml:1:11: an alias stands inside its own anchor");
  begins(kGood + "---\nname: second\n", "run.yaml:12:1: a second document begins");
  begins("- a\n- b\n", "run.yaml:1:1: is a list, must be a section of the keys");
  begins(std::string("a: \0b", 5), "run.yaml:1:1: holds a zero byte");
  begins("? [a, b]\n: c\n", "run.yaml:1:3: a key must be a plain word");
}

TEST_CASE("a byte order mark, CRLF, anchors and merges are read") {
  const std::string text =
      replaced("\xEF\xBB\xBF" + kGood, "  image: {size: 32, patch: 8, width: 64, layers: 2, heads: 4}\n",
               "  image: &tower {width: 64, layers: 2, heads: 4, size: 32, patch: 8}\n");
  CHECK(errors_of(text).empty());
  const std::string merged = R"(name: merged
model:
  name: clip
  text: &tower {width: 64, layers: 5, heads: 4}
  image: {<<: *tower, size: 32, patch: 8, layers: 7}
data: {source: {format: tar_shards, path: a.tar}}
transforms: decode
)";
  const RunConfig config = parse_config(merged, "run.yaml", without_files()).config;
  const auto& clip = std::get<creel::models::ClipSpec>(config.model.options);
  CHECK(clip.image.width == 64);
  CHECK(clip.image.layers == 7);  // its own value goes before the merged one
  std::string crlf;
  for (const char c : kGood) crlf += c == '\n' ? "\r\n" : std::string(1, c);
  CHECK(to_yaml(parse_config(crlf, "run.yaml", without_files()).config) ==
        to_yaml(parse_config(kGood, "run.yaml", without_files()).config));
}

TEST_CASE("overrides are typed, later ones win, and their mistakes name them") {
  const auto loaded =
      parse_config(kGood, "run.yaml",
                   without_files({"data.batch=16", "data.batch=32", "train.schedule.warmup=5",
                                  "evaluate.classes=[cat, 'a dog']", "transforms.eval=decode | resize(32)",
                                  "data.source.path=rel.tar"}));
  CHECK(loaded.config.data.batch == 32);
  CHECK(loaded.config.train.schedule.warmup == 5);
  CHECK(loaded.config.evaluate.classes == std::vector<std::string>{"cat", "a dog"});
  CHECK(loaded.config.eval_transforms.size() == 2);
  CHECK(loaded.config.train_transforms.size() == 3);
  CHECK(loaded.config.data.train.path == (std::filesystem::current_path() / "rel.tar").string());
  CHECK(loaded.origins.at("data.batch") == "--set data.batch=32");

  check_one(kGood, "--set data.batch=-3: data.batch: is -3, must be at least 1 and at most 1000000",
            without_files({"data.batch=-3"}));
  check_one(kGood, "--set data.bath=3: data.bath: unknown key; did you mean data.batch?",
            without_files({"data.bath=3"}));
  check_one(
      kGood,
      "--set data=3: data: is '3', must be a section of the keys source, eval, workers, batch, prefetch, "
      "max_bad; set one of them",
      without_files({"data=3"}));
  check_one(kGood, "--set data.batch.size=3: data.batch.size: data.batch is a value, not a section",
            without_files({"data.batch.size=3"}));
  check_one(
      kGood,
      "--set data.batch=: data.batch: has no value, must be a whole number, at least 1 and at most 1000000",
      without_files({"data.batch="}));
  // A wrong value of the file is not used, so it is no mistake.
  CHECK(errors_of(replaced(kGood, "batch: 8", "batch: none"), without_files({"data.batch=4"})).empty());
  // An override alone can bring a section.
  CHECK(errors_of(kGood, without_files({"checkpoint.every=3"})).empty());
}

TEST_CASE("every missing shard is named") {
  const creel_test::TemporaryFolder folder;
  std::ofstream(folder.path() / "a-000.tar") << "x";
  std::filesystem::create_directory(folder.path() / "a-002.tar");
  const std::string text = replaced(kGood, "001", "003");
  const std::string file = (folder.path() / "run.yaml").string();
  try {
    parse_config(text, file);
    FAIL("missing shards were accepted");
  } catch (const ConfigErrors& e) {
    REQUIRE(e.issues().size() == 1);
    const std::string base = (folder.path() / "a-00").string();
    CHECK(e.issues()[0].text() == file + ":3:38: data.source.path: 3 of 4 files are missing: " + base +
                                      "1.tar, " + base + "2.tar (not a file), " + base +
                                      "3.tar; make them or correct the path");
  }
  std::ofstream(folder.path() / "a-001.tar") << "x";
  CHECK_NOTHROW(parse_config(kGood, file));
}

TEST_CASE("a config file that cannot be read is a config error") {
  const creel_test::TemporaryFolder folder;
  CHECK_THROWS_AS(load_config(folder.path()), ConfigErrors);
  try {
    load_config(folder.path() / "none.yaml");
    FAIL("a missing file was accepted");
  } catch (const ConfigErrors& e) {
    CHECK(std::string(e.what()).ends_with(
        "none.yaml: cannot be read: No such file or directory; name a YAML file that describes the run"));
  }
}

TEST_CASE("transforms are checked against those that exist, at their own places") {
  LoadOptions options = without_files();
  options.transforms.names = {"decode", "resize", "tokenize"};
  options.transforms.check = [](const std::vector<TransformCall>& calls) {
    std::vector<TransformMistake> mistakes;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const TransformCall& call = calls[i];
      if (call.name == "tokenise") mistakes.push_back({i, "said already"});
      if (call.name == "resize" && call.arguments.size() != 1)
        mistakes.push_back({i, "resize takes one size"});
    }
    return mistakes;
  };
  CHECK(errors_of(kGood, options).empty());
  const std::string folded = replaced(kGood, "transforms: decode | resize(32) | tokenize(bpe, 16)",
                                      "transforms:\n  train: decode | resize(32)\n    | tokenise(bpe, 16)\n"
                                      "  eval: \"decode | resize(3, 2)\"");
  const std::vector<std::string> errors = errors_of(folded, options);
  REQUIRE(errors.size() == 2);
  CHECK(errors[0] == "run.yaml:7:7: transforms.train: unknown transform 'tokenise'; did you mean tokenize?");
  CHECK(errors[1] == "run.yaml:8:19: transforms.eval: resize takes one size");
}

TEST_CASE("an evaluation needs classes and prompts") {
  const std::string text = replaced(kGood, "  batch: 8", "  eval: {format: tar_shards, path: e.tar}");
  const std::vector<std::string> errors = errors_of(text);
  REQUIRE(errors.size() == 2);
  CHECK(errors[0].starts_with("run.yaml:1:1: evaluate.classes: is missing or empty"));
  CHECK(errors_of(text + "evaluate: {classes: [a, b], prompts: [\"a {}\"]}\n").empty());
  const std::vector<std::string> wrong =
      errors_of(text + "evaluate: {classes: [a, a], prompts: [\"a {}\", \"b\"]}\n");
  REQUIRE(wrong.size() == 2);
  CHECK(wrong[0] == "run.yaml:11:21: evaluate.classes: names 'a' twice; each label needs a name of its own");
  CHECK(wrong[1] == "run.yaml:11:38: evaluate.prompts: \"b\" has no {} for the class name; put one in");
  check_one(replaced(text, ", path: e.tar", "") + "evaluate: {classes: [a, b], prompts: [\"a {}\"]}\n",
            "run.yaml:4:3: data.eval.path: is missing; add it: path");
}
