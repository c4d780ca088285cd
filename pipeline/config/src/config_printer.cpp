#include "keys.hpp"

#include <creel/pipeline/config/config_printer.hpp>
#include <creel/pipeline/config/transform_spec.hpp>

#include <algorithm>
#include <charconv>

namespace creel::pipeline {
namespace {

using detail::Key;

std::string in_quotes(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (c == '\n') {
      result += "\\n";
    } else if (c == '\t') {
      result += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      result += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      result += c;
    }
  }
  return result + '"';
}

// Plain where no YAML reader can take the text for anything else, quoted otherwise.
std::string scalar(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  const auto plain = [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/';
  };
  constexpr std::string_view kWords[] = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"};
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  const bool word = std::find(std::begin(kWords), std::end(kWords), lower) != std::end(kWords);
  const bool safe =
      !text.empty() && (letter(text[0]) || text[0] == '/') && std::all_of(text.begin(), text.end(), plain);
  return safe && !word ? std::string(text) : in_quotes(text);
}

std::string number(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

struct ValueText {
  std::string operator()(const std::int64_t* value) const { return std::to_string(*value); }
  std::string operator()(const double* value) const { return number(*value); }
  std::string operator()(const std::string* value) const { return scalar(*value); }
  std::string operator()(const std::vector<TransformCall>* value) const { return scalar(to_string(*value)); }
  std::string operator()(const std::vector<std::string>* value) const {
    std::string text;
    for (const std::string& item : *value) text += (text.empty() ? "" : ", ") + in_quotes(item);
    return "[" + text + "]";
  }
};

std::string value_text(const Key& key, RunConfig& config) {
  return std::visit(ValueText{}, key.slot(config));
}

// What is off has no keys: an empty evaluation would be refused as incomplete when read again.
bool left_out(const Key& key, const RunConfig& config) {
  return key.section() == "data.eval" && config.data.eval.format.empty();
}

// Opens the sections of `key` that `open` does not have open yet.
void open_sections(std::string& yaml, std::vector<std::string>& open, const Key& key) {
  std::vector<std::string> wanted;
  for (std::size_t start = 0, dot; (dot = key.path.find('.', start)) != std::string_view::npos;
       start = dot + 1) {
    wanted.emplace_back(key.path.substr(start, dot - start));
  }
  std::size_t same = 0;
  while (same < open.size() && same < wanted.size() && open[same] == wanted[same]) ++same;
  for (std::size_t i = same; i < wanted.size(); ++i) yaml += std::string(2 * i, ' ') + wanted[i] + ":\n";
  open = std::move(wanted);
}

}  // namespace

std::string to_yaml(const RunConfig& config, const Origins* origins) {
  constexpr std::size_t kCommentColumn = 44;
  RunConfig copy = config;  // slots are writable
  std::string yaml;
  std::vector<std::string> open;
  for (const Key& key : detail::keys_for(config.model.name)) {
    if (left_out(key, config)) continue;
    open_sections(yaml, open, key);
    std::string line =
        std::string(2 * open.size(), ' ') + std::string(key.last()) + ": " + value_text(key, copy);
    if (origins != nullptr) {
      const auto origin = origins->find(key.path);
      line.resize(std::max(line.size() + 2, kCommentColumn), ' ');
      line += "# " + (origin == origins->end() ? "default" : origin->second);
    }
    yaml += line + "\n";
  }
  return yaml;
}

std::vector<KeyDescription> describe_keys() {
  RunConfig defaults;
  std::vector<KeyDescription> descriptions;
  for (const std::string& model : detail::model_names()) {
    for (const Key& key : detail::keys_for(model)) {
      const auto same = [&](const KeyDescription& other) { return other.path == key.path; };
      if (std::any_of(descriptions.begin(), descriptions.end(), same))
        continue;  // the models share most keys
      const std::string value = value_text(key, defaults);
      std::string shown = key.need == detail::Need::Optional ? value : "required";
      if (key.need == detail::Need::WithSection) shown = "required in " + std::string(key.section());
      if (key.path == "name") shown = "file's stem";
      descriptions.push_back({std::string(key.path), type_text(key), shown, std::string(key.doc),
                              key.resume == detail::Resume::Fixed});
    }
  }
  return descriptions;
}

namespace {

// A bar would end the table's cell.
std::string cell(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return text;
}

}  // namespace

std::string keys_markdown() {
  std::string page =
      "# Configuration\n\n"
      "Every key of a run's YAML file. `creel config` prints the same list; `creel config --markdown` writes "
      "this page.\n"
      "`--set key.path=value` overrides one. A key marked **=** must be the same when a run is resumed.\n";
  std::string section = "-";
  for (const KeyDescription& key : describe_keys()) {
    const std::string top =
        key.path.find('.') == std::string::npos ? "" : key.path.substr(0, key.path.find('.'));
    if (top != section) {
      page += "\n## " + (top.empty() ? "`" + key.path + "`" : "`" + top + "`") +
              "\n\n| key | type | default | | meaning |\n|---|---|---|---|---|\n";
      section = top;
    }
    page += "| `" + key.path + "` | " + key.type + " | " + key.default_value + " | " +
            (key.fixed_on_resume ? "**=**" : "") + " | " + cell(key.doc) + " |\n";
  }
  return page;
}

std::vector<std::string> keys_that_forbid_resume(const RunConfig& saved, const RunConfig& wanted) {
  if (saved.model.name != wanted.model.name) return {"model.name"};
  RunConfig a = saved;
  RunConfig b = wanted;
  std::vector<std::string> different;
  for (const Key& key : detail::keys_for(saved.model.name)) {
    if (key.resume == detail::Resume::Fixed && value_text(key, a) != value_text(key, b))
      different.emplace_back(key.path);
  }
  return different;
}

}  // namespace creel::pipeline
