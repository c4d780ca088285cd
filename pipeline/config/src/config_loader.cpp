#include "checks.hpp"
#include "document.hpp"
#include "issues.hpp"
#include "keys.hpp"
#include "reader.hpp"

#include <creel/pipeline/config/config_loader.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <tuple>

namespace creel::pipeline {
namespace {

using detail::Entry;
using detail::Issues;
using detail::Node;
using detail::Place;

Entry* find_entry(Node& map, std::string_view name) {
  const auto found =
      std::find_if(map.entries.begin(), map.entries.end(), [&](const Entry& e) { return e.key == name; });
  return found == map.entries.end() ? nullptr : &*found;
}

// `transforms: TEXT` is short for the same text under train and eval; from here on only the long form is
// known.
void spread_transforms(Node& root) {
  Entry* entry = find_entry(root, "transforms");
  if (entry == nullptr || entry->value->kind != Node::Kind::Scalar) return;
  auto both = std::make_shared<Node>();
  both->kind = Node::Kind::Map;
  both->place = entry->value->place;
  for (const char* name : {"train", "eval"}) both->entries.push_back({name, entry->place, entry->value});
  entry->value = both;
}

// Puts the value in the tree where the file would have it, so that one reader checks both alike.
void set_value(Node& root, std::string_view path, const std::shared_ptr<Node>& value, Issues& issues) {
  Node* map = &root;
  if (root.kind == Node::Kind::Null) root.kind = Node::Kind::Map;
  for (std::size_t start = 0;;) {
    const std::size_t dot = path.find('.', start);
    const std::string name(path.substr(start, dot - start));
    Entry* entry = find_entry(*map, name);
    if (entry == nullptr) entry = &map->entries.emplace_back(Entry{name, value->place, nullptr});
    if (dot == std::string_view::npos) {
      entry->value = value;
      return;
    }
    if (entry->value == nullptr || entry->value->kind == Node::Kind::Null) {
      entry->value = std::make_shared<Node>();
      entry->value->kind = Node::Kind::Map;
      entry->value->place = value->place;
    } else {
      entry->value = std::make_shared<Node>(*entry->value);  // an alias shares it with other keys
    }
    map = entry->value.get();
    if (map->kind != Node::Kind::Map) {
      issues.add(value->place, std::string(path),
                 std::string(path.substr(0, dot)) + " is a value, not a section");
      return;
    }
    start = dot + 1;
  }
}

void apply_overrides(Node& root, const std::vector<std::string>& overrides, Issues& issues) {
  spread_transforms(root);
  for (const std::string& text : overrides) {
    const Place place{std::make_shared<const std::string>("--set " + text)};
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      issues.add(place, "", "must be written --set key.path=value");
      continue;
    }
    auto value = std::make_shared<Node>();
    value->kind = Node::Kind::Scalar;
    value->place = place;
    value->text = text.substr(equals + 1);
    value->overridden = true;
    set_value(root, std::string_view(text).substr(0, equals), value, issues);
    spread_transforms(root);
  }
}

std::string model_name(Node& root) {
  Entry* model = find_entry(root, "model");
  Entry* name = model != nullptr ? find_entry(*model->value, "name") : nullptr;
  return name != nullptr ? name->value->text : "";
}

std::vector<ConfigIssue> sorted(std::vector<ConfigIssue> issues) {
  const auto order = [](const ConfigIssue& a, const ConfigIssue& b) {
    // Those of the file first, by place; overrides in the order given.
    return std::make_tuple(a.line == 0, a.line, a.column) < std::make_tuple(b.line == 0, b.line, b.column);
  };
  std::stable_sort(issues.begin(), issues.end(), order);
  return issues;
}

}  // namespace

LoadedConfig parse_config(std::string_view text, const std::filesystem::path& file,
                          const LoadOptions& options) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const auto origin = std::make_shared<const std::string>(file.string());
  LoadedConfig loaded;
  Issues issues;
  const std::shared_ptr<Node> root = detail::parse_document(text, origin, issues.list());
  if (!issues.list().empty()) throw ConfigErrors(sorted(std::move(issues.list())));
  root->place.origin = origin;

  apply_overrides(*root, options.overrides, issues);
  const std::vector<detail::Key> keys = detail::keys_for(model_name(*root));
  const std::filesystem::path folder = std::filesystem::absolute(file).parent_path();
  loaded.config.name = file.stem().string();
  detail::Reader(keys, text, folder, issues, loaded).read(*root);
  if (root->kind == Node::Kind::Map) {
    detail::check_values(loaded.config, issues);
    detail::check_transforms(loaded.config, options.transforms, issues);
    if (options.check_files) detail::check_files(loaded.config, keys, issues);
  }
  if (!issues.list().empty()) throw ConfigErrors(sorted(std::move(issues.list())));
  return loaded;
}

LoadedConfig load_config(const std::filesystem::path& file, const LoadOptions& options) {
  const auto refuse = [&](const std::string& why) {
    return ConfigErrors({{file.string(), 0, 0, "", why + "; name a YAML file that describes the run"}});
  };
  std::error_code error;
  if (std::filesystem::is_directory(file, error)) throw refuse("is a folder");
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw refuse(std::string("cannot be read: ") + std::strerror(errno));
  const std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  return parse_config(text, file, options);
}

}  // namespace creel::pipeline
