#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace creel::nn {

using ActivationFunction = at::Tensor (*)(const at::Tensor&);

/// By the name that Hugging Face configs use: quick_gelu, gelu. Throws Error with code Config for another.
ActivationFunction activation(std::string_view name);

}  // namespace creel::nn
