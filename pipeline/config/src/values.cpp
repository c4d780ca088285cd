// How a YAML value becomes a value of each type.
#include "reader.hpp"

#include <creel/pipeline/config/nearest_name.hpp>
#include <creel/pipeline/config/transform_spec.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace creel::pipeline::detail {
namespace {

std::string must_be(const Node& node, const Key& key) {
  return shown(node) + ", must be a " + type_text(key);
}

std::string_view without_plus(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  return text;
}

// Not a number in any notation that YAML or a shell user would try; from_chars reads "nan" and "inf" as
// numbers.
std::optional<std::string> unreal(std::string_view text) {
  std::string lower;
  for (const char c : text) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  if (lower.starts_with('-') || lower.starts_with('+')) lower.erase(0, 1);
  if (lower.starts_with('.')) lower.erase(0, 1);
  if (lower == "nan") return "is NaN";
  if (lower == "inf" || lower == "infinity") return "is infinite";
  return std::nullopt;
}

}  // namespace

void Reader::fill(const Key& key, const Node& node, std::int64_t* slot) {
  const std::string path(key.path);
  const std::string_view text = without_plus(node.text);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = end == text.data() + text.size() && !text.empty();
  if (node.kind != Node::Kind::Scalar || node.quoted || !whole) {
    const auto odd = node.kind == Node::Kind::Scalar && !node.quoted ? unreal(node.text) : std::nullopt;
    issues_.add(node.place, path, odd ? *odd + ", must be a " + type_text(key) : must_be(node, key));
  } else if (error == std::errc::result_out_of_range || !key.range.holds(static_cast<double>(number))) {
    issues_.add(node.place, path, "is " + node.text + ", must be " + range_text(key.range));
  } else {
    *slot = number;
  }
}

void Reader::fill(const Key& key, const Node& node, double* slot) {
  const std::string path(key.path);
  const std::string_view text = without_plus(node.text);
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = end == text.data() + text.size() && !text.empty();
  const bool plain = node.kind == Node::Kind::Scalar && !node.quoted;
  if (const auto odd = plain ? unreal(node.text) : std::nullopt) {
    issues_.add(node.place, path, *odd + ", must be a " + type_text(key));
  } else if (!plain || !whole) {
    issues_.add(node.place, path, must_be(node, key));
  } else if (error == std::errc::result_out_of_range) {
    issues_.add(node.place, path,
                "is " + node.text + ", beyond what a double holds; give it a smaller exponent");
  } else if (!key.range.holds(number)) {
    issues_.add(node.place, path, "is " + node.text + ", must be " + range_text(key.range));
  } else {
    *slot = number;
  }
}

void Reader::fill(const Key& key, const Node& node, std::string* slot) {
  const std::string path(key.path);
  if (node.kind != Node::Kind::Scalar || node.text.empty()) {
    issues_.add(
        node.place, path,
        node.text.empty() && node.quoted ? "is empty, must be a " + type_text(key) : must_be(node, key));
    return;
  }
  if (!key.choices.empty()) {
    const std::vector<std::string> choices = split_choices(key.choices);
    if (std::find(choices.begin(), choices.end(), node.text) == choices.end()) {
      const auto near = nearest_name(node.text, choices);
      issues_.add(
          node.place, path,
          shown(node) + ", must be " + type_text(key) + (near ? "; did you mean " + *near + "?" : ""));
      return;
    }
  }
  *slot = node.text;
  if (key.shards && !std::filesystem::path(node.text).is_absolute()) {
    const std::filesystem::path base = node.overridden ? std::filesystem::current_path() : folder_;
    *slot = (base / node.text).lexically_normal().string();
  }
}

void Reader::fill(const Key& key, const Node& node, std::vector<std::string>* slot) {
  const std::string path(key.path);
  std::shared_ptr<Node> parsed;
  const Node* list = &node;
  if (node.overridden && node.kind == Node::Kind::Scalar) {  // `--set evaluate.classes=[cat, dog]`
    parsed = parse_document(node.text, node.place.origin, issues_.list());
    list = parsed.get();
  }
  if (list->kind != Node::Kind::Sequence) {
    issues_.add(node.place, path, must_be(node, key) + "; write [first, second]");
    return;
  }
  std::vector<std::string> texts;
  for (const auto& item : list->items) {
    if (item->kind == Node::Kind::Scalar && !item->text.empty()) {
      texts.push_back(item->text);
    } else {
      issues_.add(node.overridden ? node.place : item->place, path,
                  "entry " + std::to_string(texts.size() + 1) + " " + shown(*item) + ", must be a text");
      return;
    }
  }
  *slot = std::move(texts);
}

void Reader::fill(const Key& key, const Node& node, std::vector<TransformCall>* slot) {
  const std::string path(key.path);
  if (node.kind != Node::Kind::Scalar) {
    issues_.add(node.place, path, shown(node) + ", must be transforms such as decode | resize(32)");
    return;
  }
  try {
    std::vector<TransformCall> calls = parse_transforms(node.text);
    for (TransformCall& call : calls) {
      const Place where = place_inside(node, static_cast<std::size_t>(call.column - 1));
      call.line = where.line;
      call.column = where.column;
    }
    *slot = std::move(calls);
  } catch (const TransformSyntaxError& e) {
    issues_.add(place_inside(node, e.offset), path, e.message);
  }
}

// A long text may be folded over lines and quoted, so that its bytes do not stand at `offset` behind its
// start. Follow the text through the source, letting blanks differ; give the value's own place where they
// part (an escape).
Place Reader::place_inside(const Node& node, std::size_t offset) const {
  Place place = node.place;
  if (place.line == 0 || place.offset >= source_.size()) return place;
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  std::size_t at = place.offset;
  const auto step = [&] {
    if (source_[at++] == '\n') {
      ++place.line;
      place.column = 1;
    } else {
      ++place.column;
    }
  };
  while (at < source_.size() && (source_[at] == '"' || source_[at] == '\'' || source_[at] == '|' ||
                                 source_[at] == '>' || source_[at] == '-')) {
    step();
  }
  for (std::size_t i = 0;; ++i) {
    if (i < node.text.size() && blank(node.text[i])) {
      if (i >= offset) break;
      continue;
    }
    while (at < source_.size() && blank(source_[at])) step();
    if (i >= offset || i >= node.text.size()) break;
    if (at >= source_.size() || source_[at] != node.text[i]) return node.place;
    step();
  }
  return place;
}

}  // namespace creel::pipeline::detail
