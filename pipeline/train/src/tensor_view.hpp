#pragma once

#include <creel/comm/buffer_view.hpp>

#include <ATen/core/Tensor.h>

namespace creel::pipeline {

/// The memory of a contiguous CPU tensor as comm sees it. Throws Error for another layout, device or dtype.
comm::BufferView buffer_view(const at::Tensor& tensor);

}  // namespace creel::pipeline
