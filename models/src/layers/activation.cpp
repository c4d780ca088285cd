#include <creel/models/functional.hpp>
#include <creel/models/layers/activation.hpp>
#include <creel/runtime/error.hpp>

#include <string>

namespace creel::nn {

ActivationFunction activation(std::string_view name) {
  if (name == "quick_gelu") return &quick_gelu;
  if (name == "gelu") return &gelu;
  throw Error("unknown activation '" + std::string(name) + "'; use quick_gelu or gelu", ErrorCode::Config);
}

}  // namespace creel::nn
