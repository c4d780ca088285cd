// creel_hf_roundtrip_writer FOLDER TEXTS.json: writes two small CLIPs (FOLDER/quick_gelu, FOLDER/gelu) as
// creel saves them, each with the tokenizer and a probe: inputs, creel's outputs and the ids of the texts.
// check.py reads them with Hugging Face.

#include <creel/models/functional.hpp>
#include <creel/models/hf_config.hpp>
#include <creel/models/outputs.hpp>
#include <creel/models/pretrained.hpp>
#include <creel/models/safetensors.hpp>
#include <creel/models/tokenizer.hpp>
#include <creel/runtime/atomic_file.hpp>
#include <creel/runtime/error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

using namespace creel::models;

namespace {

Tensor encode(const Tokenizer& tokenizer, const std::vector<std::string>& texts, std::int64_t context) {
  const auto rows = static_cast<std::int64_t>(texts.size());
  Tensor ids = creel::nn::empty({rows, context}, at::kLong);
  auto* to = ids.mutable_data_ptr<std::int64_t>();
  for (const std::string& text : texts) {
    const std::vector<std::int64_t> row = tokenizer.encode(text, context);
    to = std::copy(row.begin(), row.end(), to);
  }
  return ids;
}

void write(const std::filesystem::path& folder, const std::string& activation,
           const std::vector<std::string>& texts) {
  std::filesystem::create_directories(folder);
  const std::unique_ptr<Tokenizer> tokenizer = load_clip_merges(default_bpe_vocabulary());
  ClipSpec clip;
  clip.image = {.size = 32, .patch = 8, .channels = 3, .width = 64, .layers = 3, .heads = 4, .mlp = 160};
  clip.text = {.vocabulary = 49408,
               .context = 24,
               .width = 32,
               .layers = 2,
               .heads = 2,
               .mlp = 0,
               .bos = 49406,
               .eos = 49407};
  clip.embed = 48;
  clip.activation = activation;
  const std::unique_ptr<Model> model = Registry::builtin().create({"clip", clip});
  model->initialize(9);
  save_pretrained(*model, folder);
  tokenizer->save(folder, clip.text.context);
  creel::write_file_atomically(folder / "preprocessor_config.json",
                               to_hf_preprocessor({.size = clip.image.size}));

  at::Generator generator = creel::nn::make_generator(2);
  const Tensor pixels = creel::nn::empty({5, 3, clip.image.size, clip.image.size});
  creel::nn::normal_(pixels, 0, 1, generator);
  TensorMap probe{{names::pixel_values, pixels},
                  {names::input_ids, encode(*tokenizer, texts, clip.text.context)}};
  const creel::nn::NoGradGuard no_grad;
  for (const auto& [name, output] : model->forward(probe)) probe.set(name, output);
  save_safetensors(folder / "probe.safetensors", probe);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3)
      throw creel::Error("usage: creel_hf_roundtrip_writer FOLDER TEXTS.json", creel::ErrorCode::Config);
    std::ifstream file(argv[2]);
    const auto texts = nlohmann::json::parse(file).get<std::vector<std::string>>();
    for (const char* activation : {"quick_gelu", "gelu"})
      write(std::filesystem::path(argv[1]) / activation, activation, texts);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
