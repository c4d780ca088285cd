#pragma once

#include <creel/pipeline/serve/inference_protocol.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline {

/// What is wrong with a request; never leaves parse_infer_request.
class BadRequest : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// `data` of one input as it stands in the JSON, before its datatype is known (the keys come in any order).
struct RawData {
  static constexpr std::size_t kMaxDepth = 8;

  enum class Kind : std::uint8_t { Empty, Integers, Reals, Strings };
  Kind kind = Kind::Empty;
  std::vector<std::int64_t> integers;
  std::vector<double> reals;  ///< all elements, from the first that is no 64-bit integer on
  std::vector<std::string> strings;
  std::size_t first_real = 0;      ///< index of the element that made it Reals
  std::vector<std::int64_t> dims;  ///< of the nesting; one dimension when flat

  std::size_t size() const noexcept;
};

struct RawInput {
  std::string name;
  std::string datatype;
  std::string content_type;
  std::vector<std::int64_t> shape;
  RawData data;
};

/// Reads an infer request from the JSON parser's events, elements straight into flat arrays: a body of 64 MiB
/// of numbers costs 8 bytes each instead of a tree. Knows the grammar of the protocol and nothing of the
/// model.
class RequestReader {
 public:
  std::string id;
  std::vector<RawInput> inputs;
  std::vector<std::string> outputs;

  // The parser's events (nlohmann::json's SAX interface).
  bool null();
  bool boolean(bool value);
  bool number_integer(std::int64_t value);
  bool number_unsigned(std::uint64_t value);
  bool number_float(double value, const std::string& digits);
  bool string(std::string& value);
  bool binary(std::vector<std::uint8_t>& value);
  bool start_object(std::size_t size);
  bool key(std::string& name);
  bool end_object();
  bool start_array(std::size_t size);
  bool end_array();
  template <typename Exception>
  bool parse_error(std::size_t, const std::string&, const Exception& error) {
    refuse_text(error.what());
  }

 private:
  enum class Place : std::uint8_t { Root, Inputs, Input, Shape, Data, Parameters, Outputs, Output, Skip };
  struct Level {
    Place place;
    std::string key;         ///< of the value being read, in an object
    unsigned seen = 0;       ///< a bit for each known key that has stood here
    std::int64_t count = 0;  ///< elements so far, in an array
  };

  Place place() const noexcept { return levels_.back().place; }
  bool at(Place where, std::string_view name) const noexcept;
  std::string where() const;
  void push(Place next);
  void close_data(std::int64_t count);
  void refuse_scalar(std::string_view what) const;
  [[noreturn]] static void refuse_text(std::string_view what);
  void number(bool integer, std::int64_t as_integer, double as_real);
  void add_element();

  std::vector<Level> levels_;
  bool done_ = false;
};

}  // namespace creel::pipeline
