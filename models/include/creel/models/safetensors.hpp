#pragma once

#include <creel/models/tensor_map.hpp>

#include <filesystem>
#include <map>
#include <string>

namespace creel::models {

/// The content of a safetensors file: tensors by name and the free-form metadata.
struct SafeTensors {
  nn::TensorMap tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads a whole file into tensors of its own. Throws Error with code Data, naming the file and the tensor,
/// for anything that is not a valid file: truncated, a header over 100 MB, offsets that overlap, leave a
/// hole, run out of the file or overflow, a size that differs from type × shape, an unknown type, a name
/// twice; IoError if it cannot be read. Format: huggingface/safetensors, "Format" (8 bytes header length,
/// JSON header, data).
SafeTensors load_safetensors(const std::filesystem::path& path);

/// Writes such that a crash or a full disk leaves the previous file (write_file_atomically). Tensors of any
/// strides and device; aliases are written twice. The metadata "format": "pt", which Hugging Face asks for,
/// is added if absent.
void save_safetensors(const std::filesystem::path& path, const nn::TensorMap& tensors,
                      std::map<std::string, std::string> metadata = {});

}  // namespace creel::models
