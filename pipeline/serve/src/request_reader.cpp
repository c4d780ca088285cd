#include "request_reader.hpp"

#include <algorithm>
#include <span>

namespace creel::pipeline {
namespace {

constexpr std::size_t kMaxLevels = 64;

struct Grammar {
  std::span<const std::string_view> keys;
  unsigned required;  ///< a bit for each key that must be there
};
constexpr std::string_view kRootKeys[] = {"inputs", "outputs", "id", "parameters"};
constexpr std::string_view kInputKeys[] = {"name", "shape", "datatype", "data", "parameters"};
constexpr std::string_view kOutputKeys[] = {"name", "parameters"};
constexpr Grammar kRoot{kRootKeys, 0b1};
constexpr Grammar kInput{kInputKeys, 0b1111};
constexpr Grammar kOutput{kOutputKeys, 0b1};

std::string list(std::span<const std::string_view> words) {
  std::string text;
  for (const std::string_view word : words) text.append(text.empty() ? "" : ", ").append(word);
  return text;
}

std::string shortened(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  return text.size() <= kLongest ? std::string(text) : std::string(text.substr(0, kLongest)) + "…";
}

}  // namespace

std::size_t RawData::size() const noexcept {
  switch (kind) {
    case Kind::Empty:
      return 0;
    case Kind::Integers:
      return integers.size();
    case Kind::Reals:
      return reals.size();
    case Kind::Strings:
      return strings.size();
  }
  return 0;
}

bool RequestReader::at(Place where, std::string_view name) const noexcept {
  return place() == where && levels_.back().key == name;
}

/// Where the value being read stands: `inputs[0].data[3]`.
std::string RequestReader::where() const {
  std::string path;
  for (const Level& level : levels_) {
    switch (level.place) {
      case Place::Root:
      case Place::Input:
      case Place::Output:
      case Place::Parameters:
        path.append(path.empty() ? "" : ".").append(shortened(level.key));
        break;
      default:
        path += '[' + std::to_string(level.count) + ']';
    }
  }
  return path;
}

void RequestReader::push(Place next) {
  if (levels_.size() >= kMaxLevels) {
    throw BadRequest("the JSON is nested deeper than " + std::to_string(kMaxLevels) + " levels");
  }
  levels_.push_back({next, {}});
}

void RequestReader::refuse_scalar(std::string_view what) const {
  if (done_ || levels_.empty()) throw BadRequest("the body is not a JSON object; send {\"inputs\": […]}");
  if (place() == Place::Skip || place() == Place::Parameters) return;
  std::string_view wanted = "an object";
  if (place() == Place::Shape) {
    wanted = "a whole number";
  } else if (place() == Place::Data) {
    const RawInput& input = inputs.back();
    wanted = input.data.kind == RawData::Kind::Strings || input.datatype == "BYTES" ? "a string" : "a number";
  } else if (at(Place::Root, "inputs") || at(Place::Root, "outputs") || at(Place::Input, "shape") ||
             at(Place::Input, "data")) {
    wanted = "an array";
  } else if (at(Place::Root, "id") || at(Place::Input, "name") || at(Place::Input, "datatype") ||
             at(Place::Output, "name")) {
    wanted = "a string";
  }
  throw BadRequest(where() + " is " + std::string(what) + "; give " + std::string(wanted));
}

bool RequestReader::null() {
  refuse_scalar("null");
  return true;
}

bool RequestReader::boolean(bool value) {
  refuse_scalar(value ? "true" : "false");
  return true;
}

bool RequestReader::number_integer(std::int64_t value) {
  number(true, value, static_cast<double>(value));
  return true;
}

bool RequestReader::number_unsigned(std::uint64_t value) {
  const bool fits = value <= static_cast<std::uint64_t>(INT64_MAX);
  number(fits, fits ? static_cast<std::int64_t>(value) : 0, static_cast<double>(value));
  return true;
}

bool RequestReader::number_float(double value, const std::string&) {
  number(false, 0, value);
  return true;
}

void RequestReader::number(bool integer, std::int64_t as_integer, double as_real) {
  if (levels_.empty() || (place() != Place::Shape && place() != Place::Data))
    return refuse_scalar("a number");
  if (place() == Place::Shape) {
    if (!integer || as_integer < 0) throw BadRequest(where() + " must be a whole number, 0 or more");
    inputs.back().shape.push_back(as_integer);
    ++levels_.back().count;
    return;
  }
  RawData& data = inputs.back().data;
  if (data.kind == RawData::Kind::Strings) refuse_scalar("a number");
  if (!integer && data.kind != RawData::Kind::Reals) {
    data.first_real = data.integers.size();
    data.reals.assign(data.integers.begin(), data.integers.end());
    data.integers = {};
    data.kind = RawData::Kind::Reals;
  }
  if (data.kind == RawData::Kind::Reals) {
    data.reals.push_back(as_real);
  } else {
    data.integers.push_back(as_integer);
    data.kind = RawData::Kind::Integers;
  }
  add_element();
}

bool RequestReader::string(std::string& value) {
  if (levels_.empty()) refuse_scalar("a string");
  if (at(Place::Root, "id")) {
    id = std::move(value);
  } else if (at(Place::Input, "name")) {
    inputs.back().name = std::move(value);
  } else if (at(Place::Input, "datatype")) {
    inputs.back().datatype = std::move(value);
  } else if (at(Place::Parameters, "content_type")) {
    inputs.back().content_type = std::move(value);
  } else if (at(Place::Output, "name")) {
    outputs.back() = std::move(value);
  } else if (place() == Place::Data) {
    RawData& data = inputs.back().data;
    if (data.kind != RawData::Kind::Empty && data.kind != RawData::Kind::Strings) refuse_scalar("a string");
    data.kind = RawData::Kind::Strings;
    data.strings.push_back(std::move(value));
    add_element();
  } else {
    refuse_scalar("a string");
  }
  return true;
}

/// Checks that the element just read stands as deep as the ones before it.
void RequestReader::add_element() {
  RawData& data = inputs.back().data;
  std::size_t depth = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend() && level->place == Place::Data; ++level)
    ++depth;
  if (data.size() == 1) data.dims.assign(depth, -1);
  if (data.dims.size() != depth)
    throw BadRequest(where() + ": arrays and values are mixed on one level of data");
  ++levels_.back().count;
}

/// Checks that the array just ended is as long as the others on its level.
void RequestReader::close_data(std::int64_t count) {
  std::vector<std::int64_t>& dims = inputs.back().data.dims;
  std::size_t depth = 0;
  for (auto level = levels_.rbegin(); level != levels_.rend() && level->place == Place::Data; ++level)
    ++depth;
  if (dims.empty() && depth == 0) dims.assign(1, 0);  // `data: []`
  if (depth >= dims.size()) throw BadRequest(where() + ": arrays and values are mixed on one level of data");
  std::int64_t& size = dims[depth];
  if (size >= 0 && size != count) {
    throw BadRequest(where() + " has " + std::to_string(count) + " elements, the one before it " +
                     std::to_string(size) + "; nested data must be rectangular");
  }
  size = count;
}

bool RequestReader::binary(std::vector<std::uint8_t>&) { return false; }  // JSON text has none

bool RequestReader::start_object(std::size_t) {
  if (levels_.empty()) {
    push(Place::Root);
  } else if (place() == Place::Inputs) {
    inputs.emplace_back();
    push(Place::Input);
  } else if (place() == Place::Outputs) {
    outputs.emplace_back();
    push(Place::Output);
  } else if (at(Place::Input, "parameters")) {
    push(Place::Parameters);
  } else if (at(Place::Root, "parameters") || at(Place::Output, "parameters") ||
             place() == Place::Parameters || place() == Place::Skip) {
    push(Place::Skip);
  } else {
    refuse_scalar("an object");
  }
  return true;
}

bool RequestReader::key(std::string& name) {
  Level& level = levels_.back();
  const Grammar* grammar = level.place == Place::Root     ? &kRoot
                           : level.place == Place::Input  ? &kInput
                           : level.place == Place::Output ? &kOutput
                                                          : nullptr;
  level.key = std::move(name);
  if (level.place == Place::Parameters && level.key == "binary_data_size") {
    throw BadRequest(where() + ": binary tensors are not taken; send the data in JSON (binary_data=False)");
  }
  if (grammar == nullptr) return true;
  const auto known = std::ranges::find(grammar->keys, level.key);
  if (known == grammar->keys.end()) {
    throw BadRequest(where() + " is not known here; the keys are " + list(grammar->keys));
  }
  const unsigned bit = 1u << (known - grammar->keys.begin());
  if ((level.seen & bit) != 0) throw BadRequest(where() + " is given twice");
  level.seen |= bit;
  return true;
}

bool RequestReader::end_object() {
  const Level ended = std::move(levels_.back());
  levels_.pop_back();
  const Grammar* grammar = ended.place == Place::Root     ? &kRoot
                           : ended.place == Place::Input  ? &kInput
                           : ended.place == Place::Output ? &kOutput
                                                          : nullptr;
  if (grammar != nullptr) {
    for (std::size_t i = 0; i < grammar->keys.size(); ++i) {
      const unsigned bit = 1u << i;
      if ((grammar->required & bit) == 0 || (ended.seen & bit) != 0) continue;
      const std::string place = levels_.empty() ? "the request" : where();
      throw BadRequest(place + " has no \"" + std::string(grammar->keys[i]) + "\"");
    }
  }
  if (levels_.empty()) {
    done_ = true;
  } else if (place() == Place::Inputs || place() == Place::Outputs) {
    ++levels_.back().count;
  }
  return true;
}

bool RequestReader::start_array(std::size_t) {
  if (levels_.empty()) refuse_scalar("an array");
  if (at(Place::Root, "inputs")) {
    push(Place::Inputs);
  } else if (at(Place::Root, "outputs")) {
    push(Place::Outputs);
  } else if (at(Place::Input, "shape")) {
    push(Place::Shape);
  } else if (at(Place::Input, "data")) {
    push(Place::Data);
  } else if (place() == Place::Data) {
    if (levels_.size() >= 3 + RawData::kMaxDepth) {
      throw BadRequest(where() + ": data is nested deeper than " + std::to_string(RawData::kMaxDepth) +
                       " levels");
    }
    push(Place::Data);
  } else if (place() == Place::Parameters || place() == Place::Skip) {
    push(Place::Skip);
  } else {
    refuse_scalar("an array");
  }
  return true;
}

bool RequestReader::end_array() {
  const Level ended = std::move(levels_.back());
  levels_.pop_back();
  if (ended.place == Place::Data) {
    close_data(ended.count);
    if (place() == Place::Data) ++levels_.back().count;
  }
  return true;
}

/// `what` is nlohmann's "[json.exception.parse_error.101] parse error at line 1, column 2: …; last read:
/// '…'"; the token that it quotes can be as long as the body.
void RequestReader::refuse_text(std::string_view what) {
  if (const std::size_t end = what.find("] "); end != std::string_view::npos) what.remove_prefix(end + 2);
  throw BadRequest("the body is not JSON: " + std::string(what.substr(0, 160)));
}

}  // namespace creel::pipeline
