#include <creel/models/functional.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/registry.hpp>
#include <creel/models/zero_shot.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/tensor_match.hpp>
#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace creel::models;

namespace {

/// One id per byte: enough to tell texts apart, small enough for a tiny model.
class ByteTokenizer final : public Tokenizer {
 public:
  using Tokenizer::encode;
  std::vector<std::int64_t> encode(std::string_view text) const override {
    std::vector<std::int64_t> ids{start_id()};
    for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
    ids.push_back(end_id());
    return ids;
  }
  std::string decode(std::span<const std::int64_t>) const override { return ""; }
  std::int64_t vocabulary_size() const noexcept override { return 258; }
  std::int64_t start_id() const noexcept override { return 256; }
  std::int64_t end_id() const noexcept override { return 257; }
  std::int64_t pad_id() const noexcept override { return 257; }
  void save(const std::filesystem::path&, std::int64_t) const override {}
};

std::unique_ptr<Model> byte_clip() {
  ClipSpec clip;
  clip.image = {.size = 8, .patch = 8, .channels = 3, .width = 8, .layers = 1, .heads = 1, .mlp = 0};
  clip.text = {.vocabulary = 258,
               .context = 24,
               .width = 16,
               .layers = 2,
               .heads = 2,
               .mlp = 0,
               .bos = 256,
               .eos = 257};
  clip.embed = 8;
  std::unique_ptr<Model> model = Registry::builtin().create({"clip", clip});
  model->initialize(3);
  return model;
}

}  // namespace

TEST_CASE("a class is the unit mean of its prompts' unit embeddings") {
  const auto model = byte_clip();
  const ByteTokenizer tokenizer;
  const std::vector<std::string> classes{"one", "two"};
  const std::vector<std::string> prompts{"a {}", "the number {}", "{}, {}"};
  const Tensor embeddings = class_embeddings(*model, tokenizer, classes, prompts, 24);
  REQUIRE(embeddings.size(0) == 2);
  CHECK_FALSE(embeddings.requires_grad());

  Tensor sum = creel::nn::zeros({1, 8});
  for (const char* text : {"a two", "the number two", "two, two"}) {
    std::vector<std::int64_t> ids = tokenizer.encode(text, 24);
    const Tensor input = creel::nn::view_of(ids.data(), {1, 24}, at::kLong);
    sum = sum.add(model->forward({{names::input_ids, input}}).at(names::text_embeds));
  }
  const std::string wrong = creel_test::mismatch(embeddings.narrow(0, 1, 1), creel::nn::l2_normalize(sum));
  CHECK_MESSAGE(wrong.empty(), wrong);
  CHECK_FALSE(creel_test::mismatch(embeddings.narrow(0, 0, 1), embeddings.narrow(0, 1, 1)).empty());
}

TEST_CASE("a prompt takes the name wherever it says so, once") {
  CHECK(fill_prompt("{} and {}", "x") == "x and x");
  CHECK(fill_prompt("a {}", "{}{}") == "a {}{}");
  CHECK(fill_prompt("none", "x") == "none");
}

TEST_CASE("a prompt without a place for the name is refused") {
  const auto model = byte_clip();
  const std::vector<std::string> classes{"one"}, good{"a {}"}, bad{"a {}", "a digit"}, none;
  CHECK_THROWS_WITH_AS(class_embeddings(*model, ByteTokenizer{}, classes, bad, 24),
                       doctest::Contains("'a digit' has no {}"), creel::Error);
  CHECK_THROWS_AS(class_embeddings(*model, ByteTokenizer{}, none, good, 24), creel::Error);
  CHECK_THROWS_AS(class_embeddings(*model, ByteTokenizer{}, classes, none, 24), creel::Error);
}
