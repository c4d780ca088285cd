#pragma once

#include <creel/models/model.hpp>
#include <creel/models/registry.hpp>

#include <filesystem>
#include <memory>

namespace creel::models {

/// Makes the model that `folder` holds in Hugging Face layout: config.json and model.safetensors. It is in
/// evaluation mode. Throws what read_hf_config, load_safetensors and load_state throw.
std::unique_ptr<Model> load_pretrained(const std::filesystem::path& folder,
                                       const Registry& registry = Registry::builtin());

/// Writes config.json and model.safetensors, each atomically, the weights last:
/// `CLIPModel.from_pretrained(folder)` in Python loads them. The folder must exist.
void save_pretrained(const Model& model, const std::filesystem::path& folder);

}  // namespace creel::models
