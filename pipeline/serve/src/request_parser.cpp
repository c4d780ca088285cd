#include "request_reader.hpp"

#include <creel/pipeline/serve/inference_protocol.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace creel::pipeline {
namespace {

std::string quote(std::string_view name) {
  constexpr std::size_t kLongest = 60;
  return '"' + (name.size() <= kLongest ? std::string(name) : std::string(name.substr(0, kLongest)) + "…") +
         '"';
}

std::string names(std::span<const TensorSpec> specs) {
  std::string text;
  for (const TensorSpec& spec : specs) text.append(text.empty() ? "" : ", ").append(spec.name);
  return text;
}

std::string to_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) text.append(text.size() > 1 ? "," : "").append(std::to_string(size));
  return text + "]";
}

const TensorSpec& find_spec(const RawInput& input, std::span<const TensorSpec> specs, std::size_t index) {
  const auto found = std::ranges::find(specs, input.name, &TensorSpec::name);
  if (found == specs.end()) {
    throw BadRequest("inputs[" + std::to_string(index) + "]: unknown input " + quote(input.name) +
                     "; the model takes " + names(specs));
  }
  return *found;
}

void check_shape(const RawInput& input, const TensorSpec& spec, const std::string& where,
                 std::int64_t max_rows) {
  const std::vector<std::int64_t>& shape = input.shape;
  bool fits = shape.size() == spec.shape.size();
  for (std::size_t i = 0; fits && i < shape.size(); ++i)
    fits = spec.shape[i] < 0 || spec.shape[i] == shape[i];
  if (!fits) {
    throw BadRequest(where + "shape " +
                     to_text(std::span(shape).first(std::min<std::size_t>(shape.size(), 8))) +
                     " does not fit; it must be " + to_text(spec.shape) + ", where -1 is any size");
  }
  std::int64_t count = 1;
  for (const std::int64_t size : shape) {
    if (size == 0) throw BadRequest(where + "shape " + to_text(shape) + " is empty; give at least one row");
    if (__builtin_mul_overflow(count, size, &count)) {
      throw BadRequest(where + "shape " + to_text(shape) + " has more elements than 64 bits count");
    }
  }
  if (shape.front() > max_rows) {
    throw BadRequest(where + std::to_string(shape.front()) + " rows; at most " + std::to_string(max_rows) +
                     " go in one request: split it");
  }
  if (static_cast<std::uint64_t>(count) != input.data.size()) {
    throw BadRequest(where + "shape " + to_text(shape) + " needs " + std::to_string(count) +
                     " elements, data has " + std::to_string(input.data.size()));
  }
  if (input.data.dims.size() > 1 && input.data.dims != shape) {
    throw BadRequest(where + "data is nested as " + to_text(input.data.dims) + ", its shape is " +
                     to_text(shape));
  }
}

template <typename Number>
std::vector<float> to_floats(const std::vector<Number>& numbers, const std::string& where) {
  std::vector<float> floats;
  floats.reserve(numbers.size());
  for (const Number number : numbers) {
    const float value = static_cast<float>(number);
    if (!std::isfinite(value)) {
      throw BadRequest(where + "data[" + std::to_string(floats.size()) + "] does not fit FP32");
    }
    floats.push_back(value);
  }
  return floats;
}

InferTensor to_tensor(RawInput&& input, const TensorSpec& spec, const std::string& where) {
  InferTensor tensor{std::move(input.name), std::move(input.shape), {}, std::move(input.content_type)};
  RawData& data = input.data;
  const bool numbers = data.kind == RawData::Kind::Integers || data.kind == RawData::Kind::Reals;
  if (spec.datatype == Datatype::Binary) {
    if (numbers) throw BadRequest(where + "data holds numbers; give strings");
    tensor.data = std::move(data.strings);
  } else if (!numbers) {
    throw BadRequest(where + "data holds strings; give numbers");
  } else if (spec.datatype == Datatype::Fp32) {
    tensor.data =
        data.kind == RawData::Kind::Integers ? to_floats(data.integers, where) : to_floats(data.reals, where);
  } else {
    if (data.kind == RawData::Kind::Reals) {
      throw BadRequest(where + "data[" + std::to_string(data.first_real) + "] is no 64-bit whole number");
    }
    tensor.data = std::move(data.integers);
  }
  return tensor;
}

InferTensor check_input(RawInput&& input, const TensorSpec& spec, std::size_t index, std::int64_t max_rows) {
  const std::string where = "inputs[" + std::to_string(index) + "] " + quote(input.name) + ": ";
  if (input.datatype != to_string(spec.datatype)) {
    throw BadRequest(where + "datatype " + quote(input.datatype) + " is not taken; use " +
                     std::string(to_string(spec.datatype)));
  }
  check_shape(input, spec, where, max_rows);
  return to_tensor(std::move(input), spec, where);
}

InferRequest check_request(RequestReader&& reader, std::span<const TensorSpec> inputs,
                           std::span<const TensorSpec> outputs, std::int64_t max_rows) {
  InferRequest request;
  request.id = std::move(reader.id);
  if (reader.inputs.empty()) throw BadRequest("inputs is empty; the model takes " + names(inputs));
  for (std::size_t i = 0; i < reader.inputs.size(); ++i) {
    const TensorSpec& spec = find_spec(reader.inputs[i], inputs, i);
    if (request.input(spec.name) != nullptr) {
      throw BadRequest("inputs[" + std::to_string(i) + "]: input " + quote(spec.name) + " is given twice");
    }
    request.inputs.push_back(check_input(std::move(reader.inputs[i]), spec, i, max_rows));
  }
  for (std::size_t i = 0; i < reader.outputs.size(); ++i) {
    const std::string& name = reader.outputs[i];
    const std::string where = "outputs[" + std::to_string(i) + "]: ";
    if (std::ranges::find(outputs, name, &TensorSpec::name) == outputs.end()) {
      throw BadRequest(where + "unknown output " + quote(name) + "; the model gives " + names(outputs));
    }
    if (std::ranges::find(request.outputs, name) != request.outputs.end()) {
      throw BadRequest(where + "output " + quote(name) + " is asked for twice");
    }
    request.outputs.push_back(name);
  }
  return request;
}

}  // namespace

Result<InferRequest> parse_infer_request(std::string_view body, std::span<const TensorSpec> inputs,
                                         std::span<const TensorSpec> outputs, std::int64_t max_rows) {
  try {
    RequestReader reader;
    nlohmann::json::sax_parse(body, &reader);
    return check_request(std::move(reader), inputs, outputs, max_rows);
  } catch (const BadRequest& bad) {
    return Failure{ErrorCode::Data, bad.what()};
  }
}

}  // namespace creel::pipeline
