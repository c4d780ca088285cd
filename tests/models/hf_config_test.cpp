#include <creel/models/hf_config.hpp>
#include <creel/models/pretrained.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/temporary_folder.hpp>
#include <creel_test/tensor_match.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <functional>
#include <string>

using namespace creel::models;
using creel_test::TemporaryFolder;
using nlohmann::json;

namespace {

ClipSpec odd_clip() {
  ClipSpec clip;
  clip.image = {.size = 24, .patch = 8, .channels = 3, .width = 20, .layers = 1, .heads = 5, .mlp = 28};
  clip.text = {
      .vocabulary = 60, .context = 9, .width = 12, .layers = 2, .heads = 3, .mlp = 18, .bos = 57, .eos = 58};
  clip.embed = 10;
  clip.activation = "gelu";
  clip.temperature = 0.05;
  return clip;
}

std::string refusal(const std::function<void(json&)>& spoil) {
  const TemporaryFolder folder;
  json config = json::parse(to_hf_config({"clip", odd_clip()}));
  spoil(config);
  std::ofstream(folder / "config.json") << config.dump();
  try {
    read_hf_config(folder / "config.json");
  } catch (const creel::Error& error) {
    CHECK(error.code() == creel::ErrorCode::Config);
    return error.what();
  }
  return "was not refused";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("every size of a model survives config.json") {
  const TemporaryFolder folder;
  const ClipSpec clip = odd_clip();
  std::ofstream(folder / "config.json") << to_hf_config({"clip", clip});
  const ModelSpec spec = read_hf_config(folder / "config.json");
  CHECK(spec.name == "clip");
  const auto& read = std::get<ClipSpec>(spec.options);
  CHECK(read.image.size == clip.image.size);
  CHECK(read.image.patch == clip.image.patch);
  CHECK(read.image.width == clip.image.width);
  CHECK(read.image.layers == clip.image.layers);
  CHECK(read.image.heads == clip.image.heads);
  CHECK(read.image.mlp == clip.image.mlp);
  CHECK(read.text.vocabulary == clip.text.vocabulary);
  CHECK(read.text.context == clip.text.context);
  CHECK(read.text.width == clip.text.width);
  CHECK(read.text.layers == clip.text.layers);
  CHECK(read.text.heads == clip.text.heads);
  CHECK(read.text.mlp == clip.text.mlp);
  CHECK(read.text.bos == clip.text.bos);
  CHECK(read.text.eos == clip.text.eos);
  CHECK(read.embed == clip.embed);
  CHECK(read.activation == clip.activation);
  CHECK(read.temperature == doctest::Approx(clip.temperature));
  CHECK(to_hf_config(spec) == to_hf_config({"clip", clip}));
}

TEST_CASE("a config that creel cannot compute is refused by key") {
  CHECK(contains(refusal([](json& c) { c["model_type"] = "siglip"; }),
                 "model_type: 'siglip' is not supported"));
  CHECK(contains(refusal([](json& c) { c["text_config"]["hidden_size"] = "wide"; }),
                 "text_config: hidden_size: wrong type: \"wide\""));
  CHECK(contains(refusal([](json& c) { c["vision_config"]["patch_size"] = 0; }),
                 "patch_size: 0 is not positive"));
  CHECK(contains(refusal([](json& c) { c["vision_config"]["layer_norm_eps"] = 1e-6; }), "layer_norm_eps"));
  CHECK(contains(refusal([](json& c) { c["vision_config"]["hidden_act"] = "quick_gelu"; }),
                 "hidden_act: differs"));
  CHECK(contains(refusal([](json& c) { c["text_config"] = 3; }), "text_config: not a JSON object"));
  const TemporaryFolder folder;
  std::ofstream(folder / "config.json") << "{";
  CHECK_THROWS_AS(read_hf_config(folder / "config.json"), creel::Error);
}

TEST_CASE("the image processor survives its file") {
  const TemporaryFolder folder;
  std::ofstream(folder / "preprocessor_config.json")
      << to_hf_preprocessor({32, {0.5, 0.25, 0.125}, {0.5, 1, 2}});
  const ImageProcessorSpec spec = read_hf_preprocessor(folder / "preprocessor_config.json");
  CHECK(spec.size == 32);
  CHECK(spec.mean == std::array<double, 3>{0.5, 0.25, 0.125});
  CHECK(spec.std == std::array<double, 3>{0.5, 1, 2});
}

TEST_CASE("a saved model loads as the same model") {
  const TemporaryFolder folder;
  const auto model = Registry::builtin().create({"clip", odd_clip()});
  model->initialize(4);
  save_pretrained(*model, folder.path());
  const auto loaded = load_pretrained(folder.path());
  CHECK_FALSE(loaded->is_training());
  const TensorMap want = model->state();
  CHECK(loaded->state().size() == want.size());
  for (const auto& [name, tensor] : loaded->state()) CHECK_MESSAGE(tensor.equal(want.at(name)), name);
}

TEST_CASE("the reference's own checkpoint keeps every name and shape when saved again") {
  const creel_test::Golden golden("clip-hf-tiny");
  const TemporaryFolder folder;
  save_pretrained(*load_pretrained(golden.folder()), folder.path());
  const TensorMap saved = load_safetensors(folder / "model.safetensors").tensors;
  const TensorMap reference = golden.load("model");
  CHECK(saved.size() == reference.size());
  for (const auto& [name, tensor] : reference) CHECK_MESSAGE(saved.at(name).equal(tensor), name);
}
