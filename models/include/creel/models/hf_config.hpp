#pragma once

#include <creel/models/model_spec.hpp>

#include <array>
#include <filesystem>
#include <string>

/// The JSON files beside a Hugging Face checkpoint. Free of LibTorch.
namespace creel::models {

/// How pixels become pixel_values: resize the shorter side to `size` (bicubic), crop the centre, scale to 0 …
/// 1, subtract the mean and divide by the deviation of each channel. The defaults are CLIP's.
struct ImageProcessorSpec {
  std::int64_t size = 224;
  std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> std = {0.26862954, 0.26130258, 0.27577711};
};

/// The text of config.json: `CLIPModel.from_pretrained` builds the same model from it.
std::string to_hf_config(const ModelSpec& spec);

/// Reads config.json. Throws Error of code Config, naming file and key, for an architecture or an option that
/// creel cannot compute; of code Missing if there is no file.
ModelSpec read_hf_config(const std::filesystem::path& config_json);

/// The text of preprocessor_config.json.
std::string to_hf_preprocessor(const ImageProcessorSpec& spec);

ImageProcessorSpec read_hf_preprocessor(const std::filesystem::path& preprocessor_config_json);

}  // namespace creel::models
