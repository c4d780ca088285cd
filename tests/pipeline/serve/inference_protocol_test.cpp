#include <creel/pipeline/serve/inference_protocol.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <limits>
#include <random>
#include <string>
#include <vector>

using namespace creel::pipeline;

namespace {

const std::vector<TensorSpec> kInputs = {{"image", Datatype::Binary, {-1}},
                                         {"pixel_values", Datatype::Fp32, {-1, 3, 2, 2}},
                                         {"text", Datatype::Binary, {-1}},
                                         {"input_ids", Datatype::Int64, {-1, 4}}};
const std::vector<TensorSpec> kOutputs = {{"image_embeds", Datatype::Fp32, {-1, 8}},
                                          {"text_embeds", Datatype::Fp32, {-1, 8}}};

creel::Result<InferRequest> parse(std::string_view body) {
  return parse_infer_request(body, kInputs, kOutputs, 10);
}

std::string with_input(std::string_view input) { return "{\"inputs\":[" + std::string(input) + "]}"; }

/// The message of a request that must be refused.
std::string refusal(std::string_view body) {
  const auto request = parse(body);
  REQUIRE_MESSAGE(!request, "taken: " << body);
  CHECK(request.failure().code == creel::ErrorCode::Data);
  return request.failure().message;
}

}  // namespace

TEST_CASE("protocol: a request is read whole, keys in any order, parameters passed over") {
  const auto request = parse(R"({"id":"7","parameters":{"binary_data_output":true,"deep":[{"a":[1,{}]}]},
    "outputs":[{"parameters":{"binary_data":true,"classification":2},"name":"text_embeds"}],
    "inputs":[{"data":["one","two"],"datatype":"BYTES","shape":[2],"parameters":{"content_type":"base64","x":{"y":1}},
               "name":"text"},
              {"name":"input_ids","shape":[1,4],"datatype":"INT64","data":[0,-5,9223372036854775807,3]}]})");
  REQUIRE(request);
  CHECK(request.value().id == "7");
  CHECK(request.value().outputs == std::vector<std::string>{"text_embeds"});
  CHECK(request.value().rows() == 2);
  const InferTensor* text = request.value().input("text");
  REQUIRE(text != nullptr);
  CHECK(text->content_type == "base64");
  CHECK(std::get<std::vector<std::string>>(text->data) == std::vector<std::string>{"one", "two"});
  const InferTensor* ids = request.value().input("input_ids");
  REQUIRE(ids != nullptr);
  CHECK(std::get<std::vector<std::int64_t>>(ids->data) ==
        std::vector<std::int64_t>{0, -5, std::numeric_limits<std::int64_t>::max(), 3});
  CHECK(request.value().input("image") == nullptr);
}

TEST_CASE("protocol: FP32 takes integers and reals mixed, flat or nested as the shape") {
  const std::string head = R"({"name":"pixel_values","datatype":"FP32","shape":[1,3,2,2],"data":)";
  const std::vector<float> wanted = {1, 2, 3, 4.5f, -5, 6, 7, 8, 9, 10, 11, 1e-3f};
  for (const char* data :
       {"[1,2,3,4.5,-5,6,7,8,9,10,11,1e-3]", "[[[[1,2],[3,4.5]],[[-5,6],[7,8]],[[9,10],[11,0.001]]]]"}) {
    const auto request = parse(with_input(head + data + "}"));
    REQUIRE(request);
    CHECK(std::get<std::vector<float>>(request.value().inputs[0].data) == wanted);
  }
}

TEST_CASE("protocol: every kind of bad request is refused, saying where") {
  const auto text = [](std::string_view shape, std::string_view data) {
    return with_input(R"({"name":"text","datatype":"BYTES","shape":)" + std::string(shape) + R"(,"data":)" +
                      std::string(data) + "}");
  };
  const auto ids = [](std::string_view shape, std::string_view data) {
    return with_input(R"({"name":"input_ids","datatype":"INT64","shape":)" + std::string(shape) +
                      R"(,"data":)" + std::string(data) + "}");
  };
  const auto pixels = [](std::string_view data) {
    return with_input(R"({"name":"pixel_values","datatype":"FP32","shape":[1,3,2,2],"data":)" +
                      std::string(data) + "}");
  };
  const std::pair<std::string, const char*> cases[] = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"\xff\xfe", "not JSON"},
      {"{\"inputs\":[]} x", "not JSON"},
      {"[]", "not a JSON object"},
      {"null", "not a JSON object"},
      {"3", "not a JSON object"},
      {"\"inputs\"", "not a JSON object"},
      {"{}", "the request has no \"inputs\""},
      {R"({"inputs":[]})", "inputs is empty; the model takes image, pixel_values, text, input_ids"},
      {R"({"inputs":null})", "inputs is null; give an array"},
      {R"({"inputs":{"name":"text"}})", "inputs is an object; give an array"},
      {R"({"inputs":[3]})", "inputs[0] is a number; give an object"},
      {R"({"inputs":[[]]})", "inputs[0] is an array; give an object"},
      {R"({"input":[]})", "input is not known here; the keys are inputs, outputs, id, parameters"},
      {R"({"id":3,"inputs":[]})", "id is a number; give a string"},
      {R"({"inputs":[],"inputs":[]})", "inputs is given twice"},
      {with_input("{}"), "inputs[0] has no \"name\""},
      {with_input(R"({"name":"text"})"), "inputs[0] has no \"shape\""},
      {with_input(R"({"name":"text","shape":[1],"datatype":"BYTES"})"), "inputs[0] has no \"data\""},
      {with_input(R"({"name":"text","shape":[1],"shape":[1]})"), "inputs[0].shape is given twice"},
      {with_input(R"({"name":"text","dtype":"BYTES"})"), "inputs[0].dtype is not known here"},
      {with_input(R"({"name":null})"), "inputs[0].name is null; give a string"},
      {with_input(R"({"name":"txt","shape":[1],"datatype":"BYTES","data":["a"]})"), "unknown input \"txt\""},
      {with_input(R"({"name":"text","shape":[1],"datatype":"BYTES","data":["a"]},)"
                  R"({"name":"text","shape":[1],"datatype":"BYTES","data":["a"]})"),
       "inputs[1]: input \"text\" is given twice"},
      {with_input(R"({"name":"text","shape":[1],"datatype":"FP32","data":[1]})"),
       "inputs[0] \"text\": datatype \"FP32\" is not taken; use BYTES"},
      {with_input(
           R"({"name":"text","shape":[1],"datatype":"BYTES","data":["a"],"parameters":{"binary_data_size":4}})"),
       "binary tensors are not taken"},
      {text("3", "[]"), "inputs[0].shape is a number; give an array"},
      {text("[-1]", "[]"), "inputs[0].shape[0] must be a whole number, 0 or more"},
      {text("[1.5]", "[]"), "inputs[0].shape[0] must be a whole number"},
      {text("[null]", "[]"), "inputs[0].shape[0] is null; give a whole number"},
      {text("[\"1\"]", "[]"), "inputs[0].shape[0] is a string"},
      {text("[]", "[\"a\"]"), "shape [] does not fit; it must be [-1]"},
      {text("[1,1]", "[\"a\"]"), "shape [1,1] does not fit"},
      {text("[0]", "[]"), "is empty; give at least one row"},
      {text("[11]", "[\"a\"]"), "11 rows; at most 10 go in one request"},
      {text("[2]", "[\"a\"]"), "shape [2] needs 2 elements, data has 1"},
      {text("[1]", "[\"a\",\"b\"]"), "shape [1] needs 1 elements, data has 2"},
      {text("[1]", "null"), "inputs[0].data is null; give an array"},
      {text("[1]", "\"a\""), "inputs[0].data is a string; give an array"},
      {text("[2]", "[\"a\",null]"), "inputs[0].data[1] is null; give a string"},
      {text("[2]", "[\"a\",3]"), "inputs[0].data[1] is a number; give a string"},
      {text("[1]", "[3]"), "data holds numbers; give strings"},
      {text("[1]", "[true]"), "inputs[0].data[0] is true"},
      {text("[1]", "[{\"b64\":\"\"}]"), "inputs[0].data[0] is an object"},
      {ids("[1,4]", "[1,2,3,\"4\"]"), "inputs[0].data[3] is a string; give a number"},
      {ids("[1,4]", "[\"1\",\"2\",\"3\",\"4\"]"), "data holds strings; give numbers"},
      {ids("[1,4]", "[1,2.5,3,4]"), "data[1] is no 64-bit whole number"},
      {ids("[1,4]", "[1,2,3,9223372036854775808]"), "data[3] is no 64-bit whole number"},
      {ids("[1,3]", "[1,2,3]"), "shape [1,3] does not fit; it must be [-1,4]"},
      {ids("[9223372036854775807,4]", "[1,2,3,4]"), "more elements than 64 bits count"},
      {ids("[1,4]", "[[1,2],[3,4]]"), "data is nested as [2,2], its shape is [1,4]"},
      {ids("[1,4]", "[[1,2,3,4],[]]"), "nested data must be rectangular"},
      {ids("[1,4]", "[1,[2,3,4]]"), "mixed on one level"},
      {ids("[1,4]", "[[1,2,3],4]"), "mixed on one level"},
      {ids("[1,4]", "[[[[[[[[[[1,2,3,4]]]]]]]]]]"), "nested deeper than 8 levels"},
      {pixels("[NaN,1,1,1,1,1,1,1,1,1,1,1]"), "not JSON"},
      {pixels("[1e39,1,1,1,1,1,1,1,1,1,1,1]"), "data[0] does not fit FP32"},
      {pixels("[1e400,1,1,1,1,1,1,1,1,1,1,1]"), "not JSON"},
      {R"({"outputs":[{"name":"x"}],"inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["a"]}]})",
       "outputs[0]: unknown output \"x\"; the model gives image_embeds, text_embeds"},
      {R"({"outputs":[{"name":"text_embeds"},{"name":"text_embeds"}],)"
       R"("inputs":[{"name":"text","shape":[1],"datatype":"BYTES","data":["a"]}]})",
       "outputs[1]: output \"text_embeds\" is asked for twice"},
      {R"({"outputs":[{}],"inputs":[]})", "outputs[0] has no \"name\""},
      {R"({"outputs":["text_embeds"],"inputs":[]})", "outputs[0] is a string; give an object"},
      {"{\"parameters\":{\"a\":" + std::string(1000, '[') + std::string(1000, ']') + "}}",
       "deeper than 64 levels"},
  };
  for (const auto& [body, wanted] : cases) {
    CAPTURE(body.substr(0, 200));
    const std::string message = refusal(body);
    CAPTURE(message);
    CHECK(message.find(wanted) != std::string::npos);
    CHECK(message.size() < 400);
  }
}

TEST_CASE("protocol: a message never repeats a whole body") {
  const std::string name(1 << 20, 'n');
  CHECK(refusal(with_input(R"({"name":")" + name + R"(","shape":[1],"datatype":"BYTES","data":["a"]})"))
            .size() < 300);
  CHECK(refusal("{\"" + name + "\":1}").size() < 300);
  CHECK(refusal("{\"id\":\"" + name).size() < 300);
}

TEST_CASE("protocol: an answer is JSON that reads back to the same values") {
  InferResponse response{"m", "1", "a\"\r\n\xf0\x9f\x98\x80", {}};
  const std::vector<float> floats = {0.1f, -1e-30f, 3.4028235e38f, 0.0f, 16777216.0f};
  response.outputs.push_back({"image_embeds", {1, 5}, floats, {}});
  response.outputs.push_back({"ids", {2}, std::vector<std::int64_t>{-1, 2}, {}});
  const auto json = nlohmann::json::parse(to_json(response));
  CHECK(json["id"] == response.id);
  CHECK(json["model_version"] == "1");
  CHECK(json["outputs"][0]["shape"] == std::vector<int>{1, 5});
  CHECK(json["outputs"][0]["datatype"] == "FP32");
  CHECK(json["outputs"][0]["data"].get<std::vector<float>>() == floats);
  CHECK(json["outputs"][1]["data"].get<std::vector<int>>() == std::vector<int>{-1, 2});
  response.outputs[0].data = std::vector<float>{std::numeric_limits<float>::quiet_NaN()};
  CHECK_THROWS_AS(to_json(response), creel::Error);
  CHECK(nlohmann::json::parse(error_json("bad \xff name \"x\""))["error"].is_string());
}

TEST_CASE("protocol: mutated requests are refused or taken, and nothing else") {
  const std::string valid =
      R"({"id":"7","inputs":[{"name":"text","shape":[2],"datatype":"BYTES","data":["one","two"]},)"
      R"({"name":"input_ids","shape":[1,4],"datatype":"INT64","data":[[1,2,3,4]]}],"outputs":[{"name":"text_embeds"}]})";
  REQUIRE(parse(valid));
  std::mt19937 random(7);
  const auto below = [&](std::size_t n) {
    return std::uniform_int_distribution<std::size_t>(0, n - 1)(random);
  };
  const std::string alphabet = "[]{}\",:0123456789.-+eE truefalsn\\u\xff\n";
  int taken = 0;
  for (int i = 0; i < 30'000; ++i) {
    std::string body = valid;
    for (std::size_t edits = 1 + below(4); edits > 0; --edits) {
      const std::size_t at = below(body.size());
      switch (below(4)) {
        case 0:
          body[at] = alphabet[below(alphabet.size())];
          break;
        case 1:
          body.erase(at, 1 + below(8));
          break;
        case 2:
          body.insert(at, 1, alphabet[below(alphabet.size())]);
          break;
        default:
          body.insert(at, body.substr(below(body.size()), 1 + below(30)));
          break;
      }
      if (body.empty()) body = "x";
    }
    const auto request = parse(body);
    if (!request) {
      CHECK(!request.failure().message.empty());
      continue;
    }
    ++taken;
    for (const InferTensor& tensor : request.value().inputs) {
      std::int64_t elements = 1;
      for (const std::int64_t size : tensor.shape) elements *= size;
      CHECK(std::visit([](const auto& values) { return values.size(); }, tensor.data) ==
            static_cast<std::size_t>(elements));
    }
  }
  CHECK(taken > 0);
}
