#include <creel/pipeline/config/nearest_name.hpp>
#include <creel/pipeline/config/transform_spec.hpp>
#include <creel/pipeline/data/transform.hpp>
#include <creel/pipeline/data/transform_registry.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace creel::pipeline {

void register_transforms(TransformRegistry& registry);

namespace {

const TransformRegistry& registry() {
  static const TransformRegistry all = [] {
    TransformRegistry made;
    register_transforms(made);
    return made;
  }();
  return all;
}

std::unique_ptr<Transform> make(const TransformCall& call) {
  const auto found = registry().makers().find(call.name);
  if (found == registry().makers().end()) {
    const std::vector<std::string> names = transform_names();
    const std::optional<std::string> near = nearest_name(call.name, names);
    std::string known;
    for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
    throw Error("no transform is called '" + call.name + "'; " +
                    (near ? "did you mean " + *near + "?" : "there are " + known),
                ErrorCode::Config);
  }
  ArgumentReader arguments(call);
  std::unique_ptr<Transform> transform = found->second(arguments);
  arguments.finish();
  return transform;
}

// Which transform would have made the field.
std::string maker_of(std::string_view field) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kMakers{
      {{"image", "decode"}, {"caption", "decode"}, {"pixel_values", "normalize"}}};
  for (const auto& [made, maker] : kMakers) {
    if (made == field) return std::string(maker);
  }
  return "one that makes it";
}

/// The fields that the transforms so far have made.
class MadeFields {
 public:
  /// Notes what `transform` makes; throws Error of code Config if it needs what is not there.
  void add(const std::string& name, const Transform& transform) {
    const std::string needs(transform.needs());
    if (!needs.empty() && made_.find(" " + needs + " ") == std::string::npos) {
      throw Error(name + " works on the field '" + needs + "', which nothing has made yet; put " +
                      maker_of(needs) + " before it",
                  ErrorCode::Config);
    }
    made_.append(transform.makes()).append(" ");
  }

 private:
  std::string made_ = " ";  // names between blanks
};

std::string number_text(double value) {
  std::array<char, 32> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

}  // namespace

std::vector<std::string> transform_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : registry().makers()) names.push_back(name);
  return names;
}

std::vector<TransformMistake> check_transforms(const std::vector<TransformCall>& calls) {
  std::vector<TransformMistake> mistakes;
  MadeFields made;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    try {
      const std::unique_ptr<Transform> transform = make(calls[i]);
      if (mistakes.empty()) made.add(calls[i].name, *transform);
    } catch (const Error& error) {
      mistakes.push_back({i, error.what()});
    }
  }
  return mistakes;
}

TransformChain::~TransformChain() = default;

TransformChain::TransformChain(const std::vector<TransformCall>& calls, TransformResources resources,
                               const std::string& file) {
  MadeFields made;
  for (const TransformCall& call : calls) {
    try {
      std::unique_ptr<Transform> transform = make(call);
      made.add(call.name, *transform);
      transform->prepare(resources);
      links_.push_back({.name = call.name, .transform = std::move(transform)});
    } catch (const Error& error) {
      if (error.code() != ErrorCode::Config) throw;
      throw ConfigError(file, call.line, call.column, error.what());
    }
  }
}

std::optional<Failure> TransformChain::apply(Sample& sample, std::uint64_t seed, Scratch& scratch) const {
  for (std::size_t i = 0; i < links_.size(); ++i) {
    RandomStream random({.seed = seed,
                         .sample = static_cast<std::uint64_t>(sample.index),
                         .epoch = static_cast<std::uint32_t>(sample.epoch),
                         .purpose = static_cast<std::uint16_t>(i)});
    if (std::optional<Failure> failure = links_[i].transform->apply(sample, random, scratch)) {
      failure->message = links_[i].name + ": " + failure->message;
      return failure;
    }
  }
  return std::nullopt;
}

const std::string& ArgumentReader::take(const char* name) {
  if (!more()) throw Error(to_string(call_) + ": the argument " + name + " is missing", ErrorCode::Config);
  return call_.arguments[next_++];
}

void ArgumentReader::refuse(const char* name, const std::string& value, const std::string& wanted) const {
  throw Error(to_string(call_) + ": " + name + " is '" + value + "'; give " + wanted, ErrorCode::Config);
}

std::int64_t ArgumentReader::integer(const char* name, std::int64_t least, std::int64_t most) {
  const std::string& text = take(name);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most) {
    refuse(name, text, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return value;
}

double ArgumentReader::number(const char* name, double least, double most) {
  const std::string& text = take(name);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool read = error == std::errc() && end == text.data() + text.size();
  if (!read || !(value >= least && value <= most)) {  // written so that NaN is refused
    refuse(name, text, "a number from " + number_text(least) + " to " + number_text(most));
  }
  return value;
}

std::string ArgumentReader::word(const char* name, const std::vector<std::string>& words) {
  const std::string& text = take(name);
  if (std::find(words.begin(), words.end(), text) != words.end()) return text;
  std::string known;
  for (const std::string& word : words) known += (known.empty() ? "" : " or ") + word;
  refuse(name, text, known);
}

bool ArgumentReader::next_is_word() const noexcept {
  if (!more()) return false;
  double value = 0;
  const std::string& text = call_.arguments[next_];
  return std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc();
}

void ArgumentReader::finish() const {
  if (!more()) return;
  throw Error(to_string(call_) + ": takes " + std::to_string(next_) +
                  (next_ == 1 ? " argument" : " arguments") + ", not " + std::to_string(count()),
              ErrorCode::Config);
}

}  // namespace creel::pipeline
