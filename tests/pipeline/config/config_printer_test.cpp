#include <creel/pipeline/config/config_printer.hpp>

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>

using namespace creel::pipeline;

namespace {

RunConfig unusual() {
  RunConfig config;
  config.name = "007";
  config.data.train = {"tar_shards", "/a folder/it's \"x\"-{000..001}.tar"};
  config.data.eval = {"tar_shards", "/e.tar"};
  config.data.max_bad = 0.1 + 0.2;
  config.train_transforms = {{"decode", {}}, {"affine", {"10", "0.1"}}};
  config.eval_transforms = {{"decode", {}}};
  config.model.name = "clip";
  config.train.optimizer.lr = 1e-300;
  config.train.seed = 999'999'999'999;
  config.evaluate.classes = {"no",          "null",     "a: b", "- c", "tab\there",
                             "line\nbreak", "\x01 ünï", "[x]",  "#y"};
  config.evaluate.prompts = {"{}", "a \"{}\" \\ b"};
  return config;
}

LoadOptions without_files() {
  LoadOptions options;
  options.check_files = false;
  return options;
}

}  // namespace

TEST_CASE("to_yaml is read back to the same values, odd texts and numbers included") {
  const RunConfig config = unusual();
  const std::string yaml = to_yaml(config);
  CAPTURE(yaml);
  const RunConfig again = parse_config(yaml, "/x/run.yaml", without_files()).config;
  CHECK(to_yaml(again) == yaml);
  CHECK(again.name == "007");
  CHECK(again.data.train.path == config.data.train.path);
  CHECK(again.data.max_bad == config.data.max_bad);
  CHECK(again.train.optimizer.lr == config.train.optimizer.lr);
  CHECK(again.train.seed == config.train.seed);
  CHECK(again.evaluate.classes == config.evaluate.classes);
  CHECK(again.evaluate.prompts == config.evaluate.prompts);
  CHECK(again.train_transforms.at(1).arguments == config.train_transforms[1].arguments);
}

TEST_CASE("a config without evaluation is read back too") {
  RunConfig config = unusual();
  config.data.eval = {};
  config.evaluate = {};
  const std::string yaml = to_yaml(config);
  CHECK(to_yaml(parse_config(yaml, "/x/run.yaml", without_files()).config) == yaml);
}

TEST_CASE("with origins each value says where it came from, and is still YAML") {
  const RunConfig config = unusual();
  LoadOptions options = without_files();
  options.overrides = {"data.batch=7"};
  const LoadedConfig loaded = parse_config(to_yaml(config), "/x/run.yaml", options);
  const std::string yaml = to_yaml(loaded.config, &loaded.origins);
  CHECK(yaml.find("  batch: 7                                  # --set data.batch=7\n") != std::string::npos);
  CHECK(yaml.find("name: \"007\"                                 # /x/run.yaml:1\n") != std::string::npos);
  LoadedConfig fewer = parse_config(
      "data: {source: {format: tar_shards, path: a.tar}}\ntransforms: decode\nmodel: {name: clip}\n",
      "/x/run.yaml", without_files());
  CHECK(to_yaml(fewer.config, &fewer.origins).find("# default\n") != std::string::npos);
  CHECK(to_yaml(parse_config(yaml, "/x/run.yaml", without_files()).config) == to_yaml(loaded.config));
}

TEST_CASE("docs/config.md is what the tables of keys say") {
  std::ifstream file(CREEL_SOURCE_DIR "/docs/config.md");
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  CHECK_MESSAGE(page == keys_markdown(),
                "docs/config.md is out of date: run `creel config --markdown > docs/config.md`");
}

TEST_CASE("every key is documented") {
  for (const KeyDescription& key : describe_keys()) {
    CAPTURE(key.path);
    CHECK(key.doc.ends_with('.'));
    CHECK_FALSE(key.type.empty());
  }
}

TEST_CASE("a resumed run may change how it works, not what it computes") {
  const RunConfig saved = unusual();
  RunConfig wanted = saved;
  wanted.data.workers = 9;
  wanted.train.epochs = 50;
  wanted.checkpoint.every = 3;
  CHECK(keys_that_forbid_resume(saved, wanted).empty());
  wanted.data.batch = 3;
  wanted.parallel.ranks = 2;
  wanted.train.seed = 4;
  std::get<creel::models::ClipSpec>(wanted.model.options).embed = 1;
  CHECK(keys_that_forbid_resume(saved, wanted) ==
        std::vector<std::string>{"data.batch", "model.embed", "train.seed", "parallel.ranks"});
}
