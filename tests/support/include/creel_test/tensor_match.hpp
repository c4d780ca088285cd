#pragma once

#include <creel/models/safetensors.hpp>
#include <creel/models/tensor_map.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace creel_test {

/// How far a tensor may be from a reference: |actual − expected| ≤ atol + rtol · max(|expected|, 0.1 scale) +
/// 8 · noise, where scale is the reference's largest magnitude and noise its own float32-to-float64
/// difference. Whole numbers must be equal.
struct Tolerance {
  double atol = 1e-5;
  double rtol = 1e-4;
  double noise = 0;
};

/// Empty if the tensors match; else what is wrong, with the worst element.
inline std::string mismatch(const at::Tensor& actual, const at::Tensor& expected,
                            const Tolerance& tolerance = {}) {
  if (!actual.defined()) return "missing";
  if (actual.sizes() != expected.sizes()) return "shape differs";
  if (expected.numel() == 0) return "";
  if (!expected.is_floating_point()) {
    const auto wrong = actual.to(at::kLong).ne(expected.to(at::kLong)).sum().item<std::int64_t>();
    return wrong == 0 ? "" : std::to_string(wrong) + " of " + std::to_string(expected.numel()) + " differ";
  }
  const at::Tensor want = expected.detach().to(at::kDouble).flatten();
  const at::Tensor have = actual.detach().to(at::kDouble).flatten();
  const double scale = want.abs().max().item<double>();
  const at::Tensor limit =
      want.abs().clamp_min(0.1 * scale).mul(tolerance.rtol).add(tolerance.atol + 8 * tolerance.noise);
  const at::Tensor excess = have.sub(want).abs().sub(limit);
  const auto worst = excess.argmax().item<std::int64_t>();  // a NaN is the largest of all
  if (excess[worst].item<double>() <= 0) return "";
  char text[160];
  std::snprintf(text, sizeof text, "element %lld is %.9g, expected %.9g within %.3g (scale %.3g)",
                static_cast<long long>(worst), have[worst].item<double>(), want[worst].item<double>(),
                limit[worst].item<double>(), scale);
  return text;
}

/// A folder of tests/golden: tensors that a reference computed, and their noise.
class Golden {
 public:
  explicit Golden(const std::string& name)
      : folder_(std::filesystem::path(CREEL_SOURCE_DIR) / "tests" / "golden" / name) {
    std::ifstream file(folder_ / "meta.json");
    REQUIRE_MESSAGE(file, folder_.string() << " is not there");
    noise_ = nlohmann::json::parse(file).at("noise").get<std::map<std::string, double>>();
  }

  const std::filesystem::path& folder() const { return folder_; }

  /// inputs, outputs, grads or model.
  creel::nn::TensorMap load(const std::string& stem) const {
    return creel::models::load_safetensors(folder_ / (stem + ".safetensors")).tensors;
  }

  /// `key` as meta.json has it: an output's name, or "grads/" and the name.
  Tolerance tolerance(const std::string& key) const {
    const auto known = noise_.find(key);
    return {.noise = known == noise_.end() ? 0 : known->second};
  }

 private:
  std::filesystem::path folder_;
  std::map<std::string, double> noise_;
};

}  // namespace creel_test
