#include "tiny_run.hpp"

#include <creel/models/functional.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/zero_shot.hpp>
#include <creel/pipeline/data/transform.hpp>
#include <creel/pipeline/serve/base64.hpp>
#include <creel/pipeline/serve/session.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace creel::pipeline;
using creel_test::make_png;
using creel_test::TinyRun;

namespace {

using Floats = std::vector<float>;

/// What `request` answers, by output name.
std::map<std::string, InferTensor> answer(const Session& session, const InferRequest& request) {
  creel::Result<std::vector<InferTensor>> outputs = session.infer(request, {});
  REQUIRE_MESSAGE(outputs.has_value(), (outputs ? "" : outputs.failure().message));
  std::map<std::string, InferTensor> by_name;
  for (InferTensor& tensor : *outputs) by_name[tensor.name] = std::move(tensor);
  return by_name;
}

std::string refusal(const Session& session, const InferRequest& request) {
  const creel::Result<std::vector<InferTensor>> outputs = session.infer(request, {});
  REQUIRE_FALSE(outputs.has_value());
  return outputs.failure().message;
}

InferTensor strings(std::string name, std::vector<std::string> values, std::string content_type = "") {
  const auto rows = static_cast<std::int64_t>(values.size());
  return {std::move(name), {rows}, std::move(values), std::move(content_type)};
}

void check_close(const Floats& got, const at::Tensor& wanted) {
  const at::Tensor dense = wanted.contiguous();
  REQUIRE(static_cast<std::int64_t>(got.size()) == dense.numel());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CHECK(got[i] == doctest::Approx(dense.const_data_ptr<float>()[i]).epsilon(1e-5));
  }
}

const Floats& floats(const InferTensor& tensor) { return std::get<Floats>(tensor.data); }

/// The pixels that evaluation would give the model for a file.
at::Tensor pixels_of(const std::string& png) {
  const TransformChain chain(parse_transforms("decode | resize(16) | normalize(0.5, 0.5)"));
  Bytes bytes(png.size());
  std::memcpy(bytes.data(), png.data(), png.size());
  Sample sample;
  sample.set("png", std::move(bytes));
  Scratch scratch;
  REQUIRE_FALSE(chain.apply(sample, 0, scratch).has_value());
  const at::Tensor pixels = creel::nn::empty({1, 3, 16, 16});
  const auto values = sample.get<HostTensor>("pixel_values")->values<float>();
  std::copy(values.begin(), values.end(), pixels.mutable_data_ptr<float>());
  return pixels;
}

}  // namespace

TEST_CASE("session: images and texts give what the model gives for the evaluation's pixels and tokens") {
  const TinyRun run;
  const Session session(run.path());
  CHECK(session.name() == "tiny");
  CHECK(session.inputs()[1].shape == std::vector<std::int64_t>{-1, 3, 16, 16});

  const std::vector<std::string> files = {make_png(8, 1), make_png(40, 5)};
  InferRequest request;
  request.inputs.push_back(strings("image", {encode_base64(files[0]), encode_base64(files[1])}));
  request.inputs.push_back(strings("text", {"the digit zero", "Seven é", "three"}));
  const auto outputs = answer(session, request);
  REQUIRE(outputs.size() == 4);

  const creel::nn::NoGradGuard no_gradient;
  const at::Tensor pixels = creel::nn::cat({pixels_of(files[0]), pixels_of(files[1])}, 0);
  std::vector<std::int64_t> ids;
  for (const char* text : {"the digit zero", "Seven é", "three"}) {
    for (const std::int64_t id : run.tokenizer->encode(text, 8)) ids.push_back(id);
  }
  const auto wanted = run.model->forward(
      {{"pixel_values", pixels}, {"input_ids", creel::nn::view_of(ids.data(), {3, 8}, at::kLong)}});
  check_close(floats(outputs.at("image_embeds")), wanted.at("image_embeds"));
  check_close(floats(outputs.at("text_embeds")), wanted.at("text_embeds"));
  check_close(floats(outputs.at("logits_per_image")), wanted.at("logits_per_image"));
  check_close(floats(outputs.at("probabilities")), wanted.at("logits_per_image").softmax(1));
  CHECK(outputs.at("probabilities").shape == std::vector<std::int64_t>{2, 3});

  // The same as tensors.
  const float* const first = pixels.const_data_ptr<float>();
  InferRequest tensors;
  tensors.inputs.push_back({"pixel_values", {2, 3, 16, 16}, Floats(first, first + pixels.numel()), {}});
  tensors.inputs.push_back({"input_ids", {3, 8}, ids, {}});
  tensors.outputs = {"probabilities"};
  const auto again = answer(session, tensors);
  CHECK(again.size() == 1);
  CHECK(floats(again.at("probabilities")) == floats(outputs.at("probabilities")));
}

TEST_CASE("session: images alone are told apart by the run's classes, texts alone are embedded") {
  const TinyRun run;
  const Session session(run.path());
  InferRequest images;
  images.inputs.push_back(strings("image", {encode_base64(make_png(16, 2))}));
  const auto outputs = answer(session, images);
  CHECK(outputs.size() == 3);
  const std::vector<std::string> classes = {"zero", "one", "two"};
  const std::vector<std::string> prompts = {"the digit {}", "a {}"};
  const at::Tensor ensemble =
      creel::models::class_embeddings(*run.model, *run.tokenizer, classes, prompts, 8);
  const creel::nn::NoGradGuard no_gradient;
  const auto wanted = run.model->forward({{"pixel_values", pixels_of(make_png(16, 2))}});
  const at::Tensor logits =
      creel::nn::linear(wanted.at("image_embeds"), ensemble).mul(wanted.at("logit_scale").exp());
  check_close(floats(outputs.at("logits_per_image")), logits);
  check_close(floats(outputs.at("probabilities")), logits.softmax(1));

  InferRequest texts;
  texts.inputs.push_back(strings("text", {"dGhl", "the"}));
  const auto plain = answer(session, texts);
  CHECK(plain.size() == 1);
  texts.inputs[0] = strings("text", {"ZEdobA==", "dGhl"}, "base64");
  CHECK(floats(answer(session, texts).at("text_embeds")) == floats(plain.at("text_embeds")));
}

TEST_CASE("session: a run without classes embeds images and gives no probabilities") {
  RunConfig config = creel_test::tiny_config();
  config.evaluate = {};
  const TinyRun run(config);
  const Session session(run.path());
  InferRequest request;
  request.inputs.push_back(strings("image", {encode_base64(make_png(16, 2))}));
  CHECK(answer(session, request).size() == 1);
  request.outputs = {"probabilities"};
  CHECK(refusal(session, request) == "output \"probabilities\" needs text or input_ids among the inputs");
}

TEST_CASE("session: more rows than go through the model at once give each row its own answer") {
  const TinyRun run;
  const Session session(run.path());
  InferRequest request;
  std::vector<std::string> texts;
  for (int i = 0; i < 150; ++i) texts.push_back("number " + std::to_string(i % 7));
  request.inputs.push_back(strings("text", texts));
  const Floats all = floats(answer(session, request).at("text_embeds"));
  REQUIRE(all.size() == 150 * 12);
  request.inputs[0] = strings("text", {"number 6"});
  const Floats one = floats(answer(session, request).at("text_embeds"));
  for (std::size_t i = 0; i < 12; ++i) CHECK(all[146 * 12 + i] == doctest::Approx(one[i]).epsilon(1e-5));

  std::stop_source stop;
  stop.request_stop();
  CHECK_THROWS_AS((void)session.infer(request, stop.get_token()), creel::CancelledError);
}

TEST_CASE("session: inputs that cannot be used are refused by name and row") {
  const TinyRun run;
  const Session session(run.path());
  const std::string good = encode_base64(make_png(8, 1));
  const auto with = [](InferTensor input) {
    InferRequest request;
    request.inputs.push_back(std::move(input));
    return request;
  };
  CHECK(refusal(session, with(strings("image", {good, "a picture!"})))
            .find("input \"image\": data[1] is not base64") == 0);
  CHECK(refusal(session, with(strings("image", {""})))
            .find("data[0] is not an image that can be used: decode: ") != std::string::npos);
  CHECK(refusal(session, with(strings("image", {encode_base64("\x89PNG\r\n\x1a\n")})))
            .find("data[0] is not an image") != std::string::npos);
  const std::string cut = make_png(40, 5);
  CHECK(refusal(session, with(strings("image", {encode_base64(cut.substr(0, cut.size() / 2))})))
            .find("data[0]") != std::string::npos);
  CHECK(refusal(session, with(strings("text", {"%"}, "base64")))
            .find("input \"text\": data[0] is not base64") == 0);
  CHECK(refusal(session,
                with({"input_ids", {1, 8}, std::vector<std::int64_t>{49406, 1, -1, 2, 3, 4, 5, 6}, {}})) ==
        "input \"input_ids\": data[2] is -1; token ids are 0 to 49407");
  CHECK(refusal(session,
                with({"input_ids", {1, 8}, std::vector<std::int64_t>{49406, 1, 49408, 2, 3, 4, 5, 6}, {}}))
            .find("data[2] is 49408") != std::string::npos);

  InferRequest both = with(strings("image", {good}));
  both.inputs.push_back({"pixel_values", {1, 3, 16, 16}, Floats(3 * 16 * 16), {}});
  CHECK(refusal(session, both).find("image and pixel_values are both given") == 0);
  both = with(strings("text", {"a"}));
  both.inputs.push_back({"input_ids", {1, 8}, std::vector<std::int64_t>(8, 1), {}});
  CHECK(refusal(session, both).find("text and input_ids are both given") == 0);

  InferRequest text = with(strings("text", {"a"}));
  text.outputs = {"image_embeds"};
  CHECK(refusal(session, text) == "output \"image_embeds\" needs image or pixel_values among the inputs");
  text.outputs = {"probabilities"};
  CHECK(refusal(session, text) == "output \"probabilities\" needs image or pixel_values among the inputs");
  InferRequest image = with(strings("image", {good}));
  image.outputs = {"text_embeds"};
  CHECK(refusal(session, image) == "output \"text_embeds\" needs text or input_ids among the inputs");
}

TEST_CASE("session: a run folder that is not whole is refused, naming the file") {
  const auto load = [](const std::filesystem::path& folder) -> std::pair<creel::ErrorCode, std::string> {
    try {
      const Session session(folder);
    } catch (const creel::Error& error) {
      return {error.code(), error.what()};
    }
    return {creel::ErrorCode::Failed, "loaded"};
  };
  const auto [code, message] = load("/nowhere/at/all");
  CHECK(code == creel::ErrorCode::Missing);
  CHECK(message.find("/nowhere/at/all: no such run folder") == 0);
  {
    const creel_test::TemporaryFolder empty;
    CHECK(load(empty.path()).first == creel::ErrorCode::Missing);
    CHECK(load(empty.path()).second.find("has no config.yaml") != std::string::npos);
  }
  for (const char* file : {"config.json", "model.safetensors", "vocab.json", "merges.txt"}) {
    const TinyRun run;
    std::filesystem::remove(run.path() / file);
    CAPTURE(file);
    const auto missing = load(run.path());
    CHECK(missing.first == creel::ErrorCode::Missing);
    CHECK(missing.second.find((run.path() / file).string()) == 0);
  }
  {
    const TinyRun run;
    std::filesystem::remove(run.path() / "model.safetensors");
    std::filesystem::create_directory(run.path() / "checkpoints");
    CHECK(load(run.path()).second.find("has only checkpoints. Finish it with `creel run ") !=
          std::string::npos);
  }
  for (const char* file : {"config.yaml", "config.json", "model.safetensors", "vocab.json", "merges.txt"}) {
    const TinyRun run;
    const auto size = std::filesystem::file_size(run.path() / file);
    std::filesystem::resize_file(run.path() / file, size / 3);
    std::ofstream(run.path() / file, std::ios::app) << "\x01}{";
    CAPTURE(file);
    const auto damaged = load(run.path());
    CAPTURE(damaged.second);
    CHECK(damaged.first == creel::ErrorCode::Data);
    CHECK(damaged.second.find(file) != std::string::npos);
  }
  {
    RunConfig other = creel_test::tiny_config();
    const TinyRun run(other);
    std::get<creel::models::ClipSpec>(other.model.options).image.size = 32;
    other.eval_transforms = other.train_transforms =
        parse_transforms("decode | resize(32) | normalize(0.5, 0.5) | tokenize(bpe, 8)");
    std::ofstream(run.path() / "config.yaml") << to_yaml(other);
    const auto mixed = load(run.path());
    CHECK(mixed.first == creel::ErrorCode::Data);
    CHECK(mixed.second.find("both must come from one run") != std::string::npos);
  }
}
