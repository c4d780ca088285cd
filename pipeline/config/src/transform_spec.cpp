#include <creel/pipeline/config/transform_spec.hpp>

#include <cctype>

namespace creel::pipeline {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::vector<TransformCall> read() {
    std::vector<TransformCall> calls;
    skip_blanks();
    if (done()) fail("is empty; name at least one transform, as in decode | resize(32)");
    for (;;) {
      calls.push_back(call());
      skip_blanks();
      if (done()) return calls;
      if (text_[at_] != '|') fail("expected | or the end after '" + to_string(calls.back()) + "'");
      ++at_;
      skip_blanks();
      if (done()) fail("nothing follows the last |; add a transform or remove the |");
    }
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  static bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  void skip_blanks() {
    while (!done() && blank(text_[at_])) ++at_;
  }
  [[noreturn]] void fail(std::string message) const { throw TransformSyntaxError{at_, std::move(message)}; }

  TransformCall call() {
    const std::size_t start = at_;
    while (!done() && (std::islower(static_cast<unsigned char>(text_[at_])) != 0 || text_[at_] == '_' ||
                       (at_ > start && std::isdigit(static_cast<unsigned char>(text_[at_])) != 0))) {
      ++at_;
    }
    if (at_ == start) fail("expected the name of a transform (lower-case letters, digits and _)");
    TransformCall call{std::string(text_.substr(start, at_ - start)), {}, 1, static_cast<int>(start) + 1};
    const std::size_t after_name = at_;
    skip_blanks();
    if (!done() && text_[at_] == '(') {
      arguments(call);
    } else {
      at_ = after_name;
    }
    return call;
  }

  void arguments(TransformCall& call) {
    const std::size_t open = at_++;
    for (;;) {
      skip_blanks();
      const std::size_t start = at_;
      at_ = std::min(text_.find_first_of(",()|", at_), text_.size());
      if (done() || text_[at_] == '|' || text_[at_] == '(') {
        at_ = open;
        fail("the ( after " + call.name + " is never closed; add a )");
      }
      std::string_view argument = text_.substr(start, at_ - start);
      while (!argument.empty() && blank(argument.back())) argument.remove_suffix(1);
      const bool last = text_[at_] == ')';
      if (argument.empty() && !(last && call.arguments.empty()))
        fail("an argument of " + call.name + " is empty");
      if (!argument.empty()) call.arguments.emplace_back(argument);
      ++at_;
      if (last) return;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<TransformCall> parse_transforms(std::string_view text) { return Reader(text).read(); }

std::string to_string(const TransformCall& call) {
  std::string text = call.name;
  for (std::size_t i = 0; i < call.arguments.size(); ++i) text += (i == 0 ? "(" : ", ") + call.arguments[i];
  return call.arguments.empty() ? text : text + ")";
}

std::string to_string(const std::vector<TransformCall>& calls) {
  std::string text;
  for (const TransformCall& call : calls) text += (text.empty() ? "" : " | ") + to_string(call);
  return text;
}

}  // namespace creel::pipeline
