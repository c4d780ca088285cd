#pragma once

#include <creel/models/tensor_map.hpp>
#include <creel/pipeline/data/batch.hpp>

namespace creel::pipeline {

/// The tensors of a batch under their names, without a copy: the batch must outlive them.
nn::Inputs batch_inputs(Batch& batch);

}  // namespace creel::pipeline
