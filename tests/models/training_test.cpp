// AdamW, its schedule and clipping, and a whole short training run against the reference.

#include <creel/models/functional.hpp>
#include <creel/models/objective.hpp>
#include <creel/models/optimizer.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/pretrained.hpp>
#include <creel/models/schedule.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/tensor_match.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <memory>
#include <string>

using namespace creel::models;
using creel_test::Golden;
using creel_test::mismatch;

namespace {

void replay_adamw(const std::string& name) {
  const Golden golden(name);
  std::ifstream file(golden.folder() / "config.json");
  const auto config = nlohmann::json::parse(file);
  const TensorMap inputs = golden.load("inputs");
  const TensorMap expected = golden.load("outputs");
  ParameterGroup group{"all", {}, config.at("weight_decay")};
  for (const char* parameter : {"matrix", "conv", "bias", "scalar"}) {
    group.parameters.set(parameter, inputs.at(std::string("init.") + parameter).clone().requires_grad_());
  }
  AdamW optimizer({group}, {config.at("beta1"), config.at("beta2"), config.at("eps")});
  for (int t = 0; t < 12; ++t) {
    for (const auto& [parameter, tensor] : group.parameters) {
      Tensor(tensor).mutable_grad() = inputs.at("grad" + std::to_string(t) + "." + parameter);
    }
    optimizer.step(config.at("lr").get<double>() * (t < 6 ? 1.0 : 0.5));
    for (const auto& [parameter, tensor] : group.parameters) {
      const std::string key = "step" + std::to_string(t) + "." + parameter;
      const std::string wrong = mismatch(tensor, expected.at(key));
      CHECK_MESSAGE(wrong.empty(), key << ": " << wrong);
    }
  }
}

/// One parameter of each kind with fixed gradients, for runs that must repeat bit for bit.
struct Toy {
  TensorMap parameters;
  AdamW optimizer;

  Toy() : parameters(make()), optimizer(decay_groups(parameters, 0.1)) {}

  static TensorMap make() {
    at::Generator generator = creel::nn::make_generator(11);
    TensorMap made{{"weight", creel::nn::empty({33, 17})}, {"bias", creel::nn::empty({33})}};
    for (const auto& [name, tensor] : made) {
      creel::nn::normal_(tensor, 0, 1, generator);
      Tensor(tensor).requires_grad_();
    }
    return made;
  }

  void step(int t) {
    for (const auto& [name, tensor] : parameters) {
      Tensor(tensor).mutable_grad() = tensor.detach().mul(0.5 + 0.1 * t).sin();
    }
    optimizer.step(0.01);
  }
};

}  // namespace

TEST_CASE("AdamW steps as torch's does") {
  replay_adamw("opt-adamw");
  replay_adamw("opt-adamw-siglip");
}

TEST_CASE("an optimizer continues from its saved state bit for bit") {
  Toy whole, stopped, resumed;
  for (int t = 0; t < 10; ++t) whole.step(t);
  for (int t = 0; t < 4; ++t) stopped.step(t);
  {
    const creel::nn::NoGradGuard no_grad;
    for (const auto& [name, tensor] : resumed.parameters) Tensor(tensor).copy_(stopped.parameters.at(name));
  }
  resumed.optimizer.load_state(stopped.optimizer.state(), "test");
  for (int t = 4; t < 10; ++t) resumed.step(t);
  for (const auto& [name, tensor] : whole.parameters) CHECK(tensor.equal(resumed.parameters.at(name)));
  for (const auto& [name, tensor] : whole.optimizer.state())
    CHECK(tensor.equal(resumed.optimizer.state().at(name)));
  CHECK(whole.optimizer.state().at("step.weight").item<double>() == 10);
}

TEST_CASE("an optimizer refuses another's state") {
  Toy toy;
  TensorMap state = toy.optimizer.state();
  state.set("exp_avg.bias", creel::nn::zeros({5}));
  CHECK_THROWS_WITH_AS(toy.optimizer.load_state(state, "old.safetensors"),
                       doctest::Contains("exp_avg.bias: shape [5], expected [33]"), creel::Error);
}

TEST_CASE("decay falls on matrices only") {
  const auto model = Registry::builtin().create(
      {"clip", ClipSpec{.image = {.size = 16, .patch = 8, .width = 8, .layers = 1, .heads = 1},
                        .text = {.vocabulary = 10, .context = 4, .width = 8, .layers = 1, .heads = 1},
                        .embed = 4}});
  const auto groups = decay_groups(model->named_parameters(), 0.2);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].weight_decay == 0.2);
  CHECK(groups[1].weight_decay == 0);
  CHECK(groups[0].parameters.contains("text_projection.weight"));
  CHECK(groups[0].parameters.contains("vision_model.embeddings.patch_embedding.weight"));
  for (const char* name : {"logit_scale", "vision_model.embeddings.class_embedding",
                           "vision_model.pre_layrnorm.weight", "text_model.encoder.layers.0.mlp.fc1.bias"}) {
    CHECK_MESSAGE(groups[1].parameters.contains(name), name);
  }
  CHECK(groups[0].parameters.size() + groups[1].parameters.size() == model->named_parameters().size());
}

TEST_CASE("a parameter without a gradient stays as it is") {
  Toy toy;
  const Tensor before = toy.parameters.at("bias").detach().clone();
  Tensor(toy.parameters.at("weight")).mutable_grad() = creel::nn::ones({33, 17});
  toy.optimizer.step(0.1);
  CHECK(toy.parameters.at("bias").equal(before));
  CHECK(toy.optimizer.state().at("step.bias").item<double>() == 0);
  CHECK(toy.optimizer.state().at("step.weight").item<double>() == 1);
}

TEST_CASE("the schedule warms up, peaks at lr and ends at zero") {
  const CosineSchedule schedule{.lr = 2.0, .warmup = 4, .total = 104};
  CHECK(schedule.at(0) == 0.5);
  CHECK(schedule.at(3) == 2.0);
  CHECK(schedule.at(4) == 2.0);
  CHECK(schedule.at(54) == doctest::Approx(1.0));
  CHECK(schedule.at(103) > 0);
  CHECK(schedule.at(104) == doctest::Approx(0));
  CHECK(schedule.at(1000) == doctest::Approx(0));
  const CosineSchedule no_warmup{.lr = 1.0, .warmup = 0, .total = 1};
  CHECK(no_warmup.at(0) == 1.0);
}

TEST_CASE("eight steps of CLIP follow the reference") {
  const Golden golden("train-clip-hf-tiny");
  const std::unique_ptr<Model> model = load_pretrained(Golden("clip-hf-tiny").folder());
  model->train();
  const TensorMap parameters = model->named_parameters();
  {
    const creel::nn::NoGradGuard no_grad;
    Tensor(parameters.at("logit_scale")).fill_(4.59);
  }
  AdamW optimizer(decay_groups(parameters, 0.2), {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6});
  const auto objective = ObjectiveRegistry::builtin().create("softmax_contrastive");
  const TensorMap inputs = golden.load("inputs");
  const TensorMap expected = golden.load("outputs");
  for (int t = 0; t < 8; ++t) {
    const std::string prefix = "step" + std::to_string(t) + ".";
    Inputs batch;
    for (const char* name : {names::pixel_values, names::input_ids, names::attention_mask})
      batch.set(name, inputs.at(prefix + name));
    model->zero_grad();
    const Tensor loss = objective->loss(model->forward(batch), {});
    loss.backward();
    const double norm = clip_gradient_norm(parameters, 1.0);
    optimizer.step(1e-3 * std::min(1.0, (t + 1) / 4.0));
    model->constrain();
    const std::string wrong = mismatch(loss, expected.at("loss" + std::to_string(t)));
    CHECK_MESSAGE(wrong.empty(), "loss of step " << t << ": " << wrong);
    CHECK(norm == doctest::Approx(expected.at("gradnorm" + std::to_string(t)).item<double>()).epsilon(1e-4));
  }
  for (const auto& [name, parameter] : parameters) {
    // Adam divides by the root of tiny second moments: rounding of the first steps is amplified up to lr.
    const std::string wrong = mismatch(parameter, expected.at("final." + name), {.atol = 5e-5});
    CHECK_MESSAGE(wrong.empty(), name << ": " << wrong);
  }
}
