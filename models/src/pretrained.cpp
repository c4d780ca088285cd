#include <creel/models/hf_config.hpp>
#include <creel/models/pretrained.hpp>
#include <creel/models/safetensors.hpp>
#include <creel/models/state_dict.hpp>
#include <creel/runtime/atomic_file.hpp>

namespace creel::models {

std::unique_ptr<Model> load_pretrained(const std::filesystem::path& folder, const Registry& registry) {
  std::unique_ptr<Model> model = registry.create(read_hf_config(folder / "config.json"));
  const std::filesystem::path weights = folder / "model.safetensors";
  load_state(*model, load_safetensors(weights).tensors, weights.string());
  model->eval();
  return model;
}

void save_pretrained(const Model& model, const std::filesystem::path& folder) {
  write_file_atomically(folder / "config.json", to_hf_config(model.spec()));
  save_safetensors(folder / "model.safetensors", model.state());
}

}  // namespace creel::models
