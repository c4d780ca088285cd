#include "frame_name.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>

namespace creel::detail {
namespace {

constexpr std::size_t kLongestTemplateArguments = 48;

bool is_word(char c) noexcept { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Length of the operator's name at the start of `text` ("operator<<", "operator new[]", "operator bool"),
// else 0.
std::size_t operator_length(std::string_view text, bool starts_word) noexcept {
  constexpr std::string_view kWord = "operator";
  if (!starts_word || !text.starts_with(kWord) || text.size() == kWord.size() || is_word(text[kWord.size()]))
    return 0;
  std::size_t end = kWord.size();
  if (text.substr(end).starts_with("()")) return end + 2;
  if (text.substr(end).starts_with("[]")) return end + 2;
  if (text[end] == ' ') {  // new, delete, a conversion, or a literal
    while (end < text.size() && text[end] != '(') ++end;
    return end;
  }
  while (end < text.size() && std::string_view("<>=!+-*/%&|^~,").find(text[end]) != std::string_view::npos)
    ++end;
  return end;
}

// Index just past the bracket that closes the one at `open`; brackets of other kinds inside must balance.
std::size_t closing(std::string_view text, std::size_t open) noexcept {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    const char c = text[i];
    if (const std::size_t skip = operator_length(text.substr(i), i == 0 || !is_word(text[i - 1])); skip > 0) {
      i += skip - 1;
    } else if (c == '-' && i + 1 < text.size() && text[i + 1] == '>') {
      ++i;
    } else if (c == '(' || c == '<' || c == '{' || c == '[') {
      ++depth;
    } else if (c == ')' || c == '>' || c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return text.size();
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

}  // namespace

std::string shorten_name(std::string_view demangled) {
  std::string whole(demangled);
  replace_all(whole, "(anonymous namespace)", "{anonymous}");
  replace_all(whole, "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >",
              "std::string");
  replace_all(whole, "std::basic_string_view<char, std::char_traits<char> >", "std::string_view");
  const std::string_view text = whole;
  std::string name;
  for (std::size_t i = 0; i < text.size();) {
    const bool starts_word = i == 0 || !is_word(text[i - 1]);
    if (const std::size_t length = operator_length(text.substr(i), starts_word); length > 0) {
      name.append(text.substr(i, length));
      i += length;
      if (text.substr(i).starts_with(" <")) i = closing(text, i + 1);  // operator< <int>: no blank may stay
    } else if (starts_word && text.substr(i).starts_with("decltype")) {
      i = closing(text, std::min(text.find('(', i), text.size()));  // a return type: decltype(auto)
    } else if (text[i] == '<') {
      const std::size_t end = closing(text, i);
      const std::string_view arguments = text.substr(i, end - i);
      const bool plain =
          arguments.size() <= kLongestTemplateArguments && arguments.find('(') == std::string_view::npos;
      name.append(plain ? arguments : std::string_view("<...>"));
      i = end;
    } else if (text[i] == '(') {
      i = closing(text, i);  // parameters, of the function or of one that encloses it
      // const, volatile, & and [clone] belong to what was just skipped; a nested name goes on with "::".
      while (i < text.size() && text.compare(i, 2, "::") != 0) ++i;
    } else if (text[i] == '{') {
      const std::size_t end = closing(text, i);
      const std::string_view inner = text.substr(i, end - i);
      const std::size_t parameters = inner.find('('), hash = inner.rfind('#');
      if (parameters != std::string_view::npos && hash != std::string_view::npos && hash > parameters) {
        name.append(inner.substr(0, parameters)).append(inner.substr(hash));
      } else {
        name.append(inner);
      }
      i = end;
    } else if (text[i] == ' ' && text.compare(i, 2, " [") != 0) {
      name.clear();  // what stood before was a return type
      ++i;
    } else if (text[i] == ' ') {
      break;  // " [clone .cold]"
    } else {
      name.push_back(text[i++]);
    }
  }
  replace_all(name, "}::operator()", "}");  // the body of a lambda is the lambda
  return name.empty() ? std::string(demangled) : name;
}

std::string type_name(const std::type_info& type) {
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, nullptr), &std::free);
  return text != nullptr ? text.get() : type.name();
}

std::string frame_name(const char* symbol) {
  if (symbol == nullptr || *symbol == '\0') return {};
  if (std::string_view(symbol).starts_with("_Z")) {
    int status = 0;
    const std::unique_ptr<char, decltype(&std::free)> text(
        abi::__cxa_demangle(symbol, nullptr, nullptr, &status), &std::free);
    if (status == 0 && text != nullptr) return shorten_name(text.get());
  }
  const std::string_view plain = symbol;
  return std::string(plain.substr(0, plain.find('.', 1)));  // without ".isra.0", ".cold", "@plt"
}

}  // namespace creel::detail
