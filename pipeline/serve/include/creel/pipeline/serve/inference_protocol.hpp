#pragma once

#include <creel/runtime/result.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace creel::pipeline {

/// The element types of the Open Inference Protocol that this server speaks; Binary is its BYTES, a string
/// each.
enum class Datatype : std::uint8_t { Fp32, Int64, Binary };
/// The protocol's spelling: FP32, INT64, BYTES.
std::string_view to_string(Datatype datatype) noexcept;

/// What a model takes or gives under one name. A dimension of -1 may have any size; the first one counts
/// rows.
struct TensorSpec {
  std::string name;
  Datatype datatype = Datatype::Fp32;
  std::vector<std::int64_t> shape;
};

/// A named tensor of a request or an answer: row-major elements in host memory.
struct InferTensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::variant<std::vector<float>, std::vector<std::int64_t>, std::vector<std::string>> data;
  std::string content_type;  ///< parameters.content_type of an input, else empty

  Datatype datatype() const noexcept { return static_cast<Datatype>(data.index()); }
  std::int64_t rows() const noexcept { return shape.empty() ? 0 : shape.front(); }
};

struct InferRequest {
  std::string id;  ///< echoed in the answer; empty: none
  std::vector<InferTensor> inputs;
  std::vector<std::string> outputs;  ///< the outputs asked for; empty: all that the inputs allow

  const InferTensor* input(std::string_view name) const noexcept;
  /// The largest number of rows of any input.
  std::int64_t rows() const noexcept;
};

struct InferResponse {
  std::string model_name;
  std::string model_version;
  std::string id;
  std::vector<InferTensor> outputs;
};

/// Reads the JSON body of an infer request and checks it against what the model takes and gives: names,
/// datatypes, ranks, dimensions and element counts all agree in the request that it returns. `data` may be
/// flat or nested as the shape. An input of more than `max_rows` rows is refused. Every failure is the
/// client's, its message says where: `inputs[0] "text": data[3] is null; give a string`. Source: Open
/// Inference Protocol 2.0 (KServe), REST, inference request.
Result<InferRequest> parse_infer_request(std::string_view body, std::span<const TensorSpec> inputs,
                                         std::span<const TensorSpec> outputs, std::int64_t max_rows);

/// The JSON of an answer. FP32 values are written with the fewest digits that read back to the same float.
/// Throws Error if a value is not finite, since JSON cannot hold it.
std::string to_json(const InferResponse& response);

/// The JSON of every refusal: {"error": message}.
std::string error_json(std::string_view message);

/// The members of model metadata: [{"name": …, "datatype": …, "shape": […]}].
std::string to_json(std::span<const TensorSpec> specs);

}  // namespace creel::pipeline
