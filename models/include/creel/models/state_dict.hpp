#pragma once

#include <creel/models/module.hpp>
#include <creel/models/tensor_map.hpp>

#include <string_view>

namespace creel::models {

/// Copies `source` into the tensors of `destination` of the same names, converting fp16 and bf16 to the
/// destination's type. Tensors that old checkpoints carry but nothing needs (…position_ids,
/// …num_batches_tracked) are ignored. Everything is checked before the first tensor is touched; all misfits
/// (missing, unknown, wrong shape, wrong type) are named in one Error of code Data. `origin` says in it where
/// the source came from.
void load_tensors(const nn::TensorMap& destination, const nn::TensorMap& source, std::string_view origin);

/// load_tensors into the parameters and persistent buffers of a module.
void load_state(nn::Module& module, const nn::TensorMap& source, std::string_view origin);

}  // namespace creel::models
