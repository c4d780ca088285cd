#include <creel/pipeline/serve/inference_protocol.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace creel::pipeline {
namespace {

/// Replaces what is not UTF-8 instead of throwing: names of inputs and files come from outside.
std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

template <typename Number>
void append_number(std::string& out, Number value) {
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, value);
  out.append(digits, end.ptr);
}

void append_element(std::string& out, const std::string& name, float value) {
  if (!std::isfinite(value)) {
    throw Error("output " + name +
                " holds a value that is not finite; the weights or the input are out of range");
  }
  append_number(out, value);
}
void append_element(std::string& out, const std::string&, std::int64_t value) { append_number(out, value); }
void append_element(std::string& out, const std::string&, const std::string& value) {
  out += json_string(value);
}

template <typename Values, typename Append>
void append_array(std::string& out, const Values& values, Append append) {
  out += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    append(values[i]);
  }
  out += ']';
}

/// `"name":…,"datatype":…,"shape":…`
void append_description(std::string& out, const std::string& name, Datatype datatype,
                        const std::vector<std::int64_t>& shape) {
  out += "\"name\":" + json_string(name) + ",\"datatype\":\"";
  out += to_string(datatype);
  out += "\",\"shape\":";
  append_array(out, shape, [&](std::int64_t size) { append_number(out, size); });
}

}  // namespace

std::string_view to_string(Datatype datatype) noexcept {
  switch (datatype) {
    case Datatype::Fp32:
      return "FP32";
    case Datatype::Int64:
      return "INT64";
    case Datatype::Binary:
      return "BYTES";
  }
  return "?";
}

const InferTensor* InferRequest::input(std::string_view name) const noexcept {
  const auto found = std::ranges::find(inputs, name, &InferTensor::name);
  return found == inputs.end() ? nullptr : &*found;
}

std::int64_t InferRequest::rows() const noexcept {
  std::int64_t most = 0;
  for (const InferTensor& tensor : inputs) most = std::max(most, tensor.rows());
  return most;
}

std::string to_json(const InferResponse& response) {
  std::string out = "{\"model_name\":" + json_string(response.model_name) +
                    ",\"model_version\":" + json_string(response.model_version);
  if (!response.id.empty()) out += ",\"id\":" + json_string(response.id);
  out += ",\"outputs\":";
  append_array(out, response.outputs, [&](const InferTensor& tensor) {
    out += '{';
    append_description(out, tensor.name, tensor.datatype(), tensor.shape);
    out += ",\"data\":";
    std::visit(
        [&](const auto& values) {
          append_array(out, values, [&](const auto& value) { append_element(out, tensor.name, value); });
        },
        tensor.data);
    out += '}';
  });
  out += '}';
  return out;
}

std::string to_json(std::span<const TensorSpec> specs) {
  std::string out;
  append_array(out, specs, [&](const TensorSpec& spec) {
    out += '{';
    append_description(out, spec.name, spec.datatype, spec.shape);
    out += '}';
  });
  return out;
}

std::string error_json(std::string_view message) { return "{\"error\":" + json_string(message) + "}"; }

}  // namespace creel::pipeline
