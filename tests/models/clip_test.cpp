// The real CLIP against Hugging Face's: outputs, loss, every gradient; and what a user can get wrong.

#include <creel/models/execution.hpp>
#include <creel/models/functional.hpp>
#include <creel/models/objective.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/pretrained.hpp>
#include <creel/models/safetensors.hpp>
#include <creel/models/state_dict.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/tensor_match.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

using namespace creel::models;
using creel_test::Golden;
using creel_test::mismatch;

namespace {

ClipSpec tiny() {
  ClipSpec clip;
  clip.image = {.size = 16, .patch = 8, .channels = 3, .width = 16, .layers = 2, .heads = 2, .mlp = 0};
  clip.text = {
      .vocabulary = 50, .context = 8, .width = 16, .layers = 2, .heads = 2, .mlp = 0, .bos = 48, .eos = 49};
  clip.embed = 8;
  return clip;
}

std::unique_ptr<Model> make(const ClipSpec& clip, std::uint64_t seed = 1) {
  std::unique_ptr<Model> model = Registry::builtin().create({"clip", clip});
  model->initialize(seed);
  return model;
}

Tensor ids(std::initializer_list<std::int64_t> values, std::int64_t rows) {
  const Tensor flat = creel::nn::empty({static_cast<std::int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), flat.mutable_data_ptr<std::int64_t>());
  return flat.view({rows, -1});
}

Tensor pixels(std::int64_t rows, std::int64_t side, std::uint64_t seed = 3) {
  Tensor made = creel::nn::empty({rows, 3, side, side});
  at::Generator generator = creel::nn::make_generator(seed);
  creel::nn::normal_(made, 0, 1, generator);
  return made;
}

void check_against_golden(const std::string& name) {
  const Golden golden(name);
  const std::unique_ptr<Model> model = load_pretrained(golden.folder());
  const Inputs inputs = golden.load("inputs");
  const Outputs outputs = model->forward(inputs);
  int compared = 0;
  for (const auto& [output, expected] : golden.load("outputs")) {
    if (output == "loss") continue;
    const std::string wrong = mismatch(outputs.find(output), expected, golden.tolerance(output));
    CHECK_MESSAGE(wrong.empty(), output << ": " << wrong);
    ++compared;
  }
  CHECK(compared == 7);

  model->train();
  const Tensor loss =
      ObjectiveRegistry::builtin().create("softmax_contrastive")->loss(model->forward(inputs), {});
  loss.backward();
  const creel::nn::TensorMap parameters = model->named_parameters();
  std::size_t gradients = 0;
  for (const auto& [key, expected] : golden.load("grads")) {
    const bool is_loss = key == "loss";
    const Tensor actual = is_loss ? loss : parameters.at(key.substr(5)).grad();
    const std::string wrong = mismatch(actual, expected, golden.tolerance("grads/" + key));
    CHECK_MESSAGE(wrong.empty(), key << ": " << wrong);
    if (!is_loss) ++gradients;
  }
  CHECK(gradients == parameters.size());
}

template <typename Function>
std::string message_of(Function&& function, creel::ErrorCode code) {
  try {
    function();
  } catch (const creel::Error& error) {
    CHECK(error.code() == code);
    return error.what();
  }
  FAIL("nothing was thrown");
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("CLIP with QuickGELU computes what the reference computes, gradients too") {
  check_against_golden("clip-hf-tiny");
}

TEST_CASE("CLIP with GELU computes what the reference computes, gradients too") {
  check_against_golden("clip-hf-tiny-gelu");
}

TEST_CASE("CLIP gives what its inputs allow") {
  const auto model = make(tiny());
  const Outputs image = model->forward({{"pixel_values", pixels(2, 16)}});
  CHECK(image.contains(names::image_embeds));
  CHECK_FALSE(image.contains(names::text_embeds));
  CHECK_FALSE(image.contains(names::logits_per_image));
  const Outputs text = model->forward({{"input_ids", ids({48, 5, 49, 48, 6, 49}, 2)}});
  CHECK(text.at(names::text_embeds).size(0) == 2);
  CHECK_FALSE(text.contains(names::image_embeds));
  const Tensor lengths = text.at(names::text_embeds).square().sum(1).sub(1).abs();
  CHECK(lengths.max().item<double>() < 1e-5);
}

TEST_CASE("a text is pooled at its first end token, or at the highest id if the config says 2") {
  ClipSpec clip = tiny();
  const Tensor row = ids({48, 7, 49, 9, 49, 9}, 1);
  const auto pooled_position = [](const Model& model, const Tensor& input) {
    const Outputs outputs = model.forward({{"input_ids", input}});
    const Tensor projection = model.named_parameters().at("text_projection.weight");
    for (std::int64_t i = 0; i < input.size(1); ++i) {
      const Tensor here = creel::nn::linear(outputs.at(names::text_hidden).select(1, i), projection);
      if (mismatch(here, outputs.at(names::text_features)).empty()) return i;
    }
    return std::int64_t{-1};
  };
  CHECK(pooled_position(*make(clip), row) == 2);
  clip.text.eos = 2;
  CHECK(pooled_position(*make(clip), ids({48, 2, 7, 49, 2, 9}, 1)) == 3);
}

TEST_CASE("text sees no later token, and padding changes nothing before it") {
  const auto model = make(tiny());
  const Outputs whole = model->forward({{"input_ids", ids({48, 5, 6, 7, 49}, 1)}});
  const Outputs other = model->forward({{"input_ids", ids({48, 5, 6, 30, 31}, 1)}});
  const Tensor before = whole.at(names::text_hidden).narrow(1, 0, 3);
  CHECK(mismatch(other.at(names::text_hidden).narrow(1, 0, 3), before).empty());
  CHECK_FALSE(mismatch(other.at(names::text_hidden), whole.at(names::text_hidden)).empty());

  const Outputs padded = model->forward({{"input_ids", ids({48, 5, 6, 7, 49, 49, 49, 49}, 1)},
                                         {"attention_mask", ids({1, 1, 1, 1, 1, 0, 0, 0}, 1)}});
  CHECK(mismatch(padded.at(names::text_embeds), whole.at(names::text_embeds)).empty());
  const Outputs nothing =
      model->forward({{"input_ids", ids({48, 49}, 1)}, {"attention_mask", ids({0, 0}, 1)}});
  CHECK(nothing.at(names::text_embeds).isfinite().all().item<bool>());
}

TEST_CASE("a cache continues a sequence") {
  const auto model = make(tiny());
  const Tensor sequence = ids({48, 5, 6, 7, 8, 49, 48, 9, 10, 11, 49, 49}, 2);
  const Tensor padding = ids({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0}, 2);
  const creel::nn::NoGradGuard no_grad;
  for (const bool padded : {false, true}) {
    const auto inputs = [&](std::int64_t first, std::int64_t count) {
      Inputs made{{"input_ids", sequence.narrow(1, first, count)}};
      if (padded) made.set("attention_mask", padding.narrow(1, 0, first + count));
      return made;
    };
    const Tensor whole = model->forward(inputs(0, 6)).at(names::text_hidden);
    creel::nn::Cache cache;
    std::int64_t seen = 0;
    for (const std::int64_t piece : {3, 1, 2}) {
      const Tensor part = model->forward(inputs(seen, piece), &cache).at(names::text_hidden);
      CHECK(mismatch(part, whole.narrow(1, seen, piece)).empty());
      seen += piece;
      CHECK(cache.length() == seen);
    }
    CHECK_THROWS_AS(model->forward({{"input_ids", sequence.narrow(1, 0, 3)}}, &cache), creel::Error);
  }
}

TEST_CASE("forward and backward are bitwise the same from run to run") {
  const int before = creel::nn::intra_op_threads();
  for (const int threads : {1, 2}) {
    creel::nn::set_intra_op_threads(threads);
    std::vector<Tensor> first;
    for (int run = 0; run < 3; ++run) {
      ClipSpec clip = tiny();
      clip.text.vocabulary = 5000;
      clip.text.eos = 4999;
      const auto model = make(clip);
      const Tensor tokens =
          creel::nn::arange(64 * 8, creel::nn::zeros({0})).mul(7).remainder(4000).view({64, 8});
      const Inputs inputs{{"pixel_values", pixels(64, 16)}, {"input_ids", tokens}};
      ObjectiveRegistry::builtin().create("softmax_contrastive")->loss(model->forward(inputs), {}).backward();
      std::size_t index = 0;
      for (const auto& [name, parameter] : model->named_parameters()) {
        if (run == 0) first.push_back(parameter.grad());
        CHECK_MESSAGE(parameter.grad().equal(first[index]), name << " with " << threads << " threads");
        ++index;
      }
    }
  }
  creel::nn::set_intra_op_threads(before);
}

TEST_CASE("initial weights come from the seed, with the reference's deviations") {
  ClipSpec clip = tiny();
  clip.text.width = 64;
  clip.text.vocabulary = 2000;
  const creel::nn::TensorMap one = make(clip, 5)->named_parameters();
  const creel::nn::TensorMap same = make(clip, 5)->named_parameters();
  const creel::nn::TensorMap other = make(clip, 6)->named_parameters();
  for (const auto& [name, parameter] : one) {
    CHECK(parameter.equal(same.at(name)));
    if (parameter.dim() >= 2) CHECK_FALSE(parameter.equal(other.at(name)));
  }
  const auto deviation = [&one](const char* name) { return one.at(name).std().item<double>(); };
  CHECK(deviation("text_model.embeddings.token_embedding.weight") == doctest::Approx(0.02).epsilon(0.02));
  CHECK(deviation("text_model.encoder.layers.0.self_attn.q_proj.weight") ==
        doctest::Approx(1 / 8.0 / 2.0).epsilon(0.05));
  CHECK(deviation("text_model.encoder.layers.1.mlp.fc1.weight") ==
        doctest::Approx(1 / std::sqrt(128.0)).epsilon(0.05));
  CHECK(one.at("logit_scale").item<double>() == doctest::Approx(std::log(1 / 0.07)));
  CHECK(one.at("text_model.final_layer_norm.weight").eq(1).all().item<bool>());
}

TEST_CASE("logit_scale stays between 0 and ln 100") {
  const auto model = make(tiny());
  Tensor scale = model->named_parameters().at("logit_scale").detach();
  scale.fill_(7.0);
  model->constrain();
  CHECK(scale.item<double>() == doctest::Approx(std::log(100.0)));
  scale.fill_(-1.0);
  model->constrain();
  CHECK(scale.item<double>() == 0.0);
}

TEST_CASE("inputs that do not fit are refused by name") {
  const auto model = make(tiny());
  const auto refused = [&model](const Inputs& inputs) {
    return message_of([&] { model->forward(inputs); }, creel::ErrorCode::Data);
  };
  CHECK(contains(refused({{"pixel_values", pixels(1, 24)}}),
                 "pixel_values: shape [1, 3, 24, 24]; expected [batch, 3, 16, 16]"));
  CHECK(contains(refused({{"pixel_values", pixels(1, 16).to(at::kDouble)}}), "pixel_values: type"));
  CHECK(contains(refused({{"input_ids", ids({48, 50}, 1)}}), "id 50 is outside the vocabulary of 50"));
  CHECK(contains(refused({{"input_ids", ids({48, -1}, 1)}}), "id -1"));
  CHECK(contains(refused({{"input_ids", creel::nn::zeros({1, 9}, at::kLong)}}),
                 "input_ids: shape [1, 9]; expected [batch, 1 to 8]"));
  CHECK(contains(refused({{"input_ids", creel::nn::zeros({1, 3})}}), "input_ids: type"));
  CHECK(contains(refused({{"input_ids", ids({48, 49}, 1)}, {"attention_mask", ids({1}, 1)}}),
                 "attention_mask: shape [1, 1]"));
}

TEST_CASE("a model that cannot be is refused before it is made") {
  const auto refused = [](const ModelSpec& spec) {
    return message_of([&] { Registry::builtin().create(spec); }, creel::ErrorCode::Config);
  };
  CHECK(contains(refused({"clipp", tiny()}), "unknown model 'clipp'; did you mean 'clip'?"));
  CHECK_FALSE(contains(refused({"resnet", tiny()}), "did you mean"));
  ClipSpec clip = tiny();
  clip.image.heads = 3;
  CHECK(contains(refused({"clip", clip}), "heads 3 does not divide width 16"));
  clip = tiny();
  clip.image.patch = 5;
  CHECK(contains(refused({"clip", clip}), "patch 5 does not divide size 16"));
  clip = tiny();
  clip.activation = "relu";
  CHECK(contains(refused({"clip", clip}), "unknown activation 'relu'"));
}
