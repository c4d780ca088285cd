#include "reader.hpp"

#include <creel/pipeline/config/nearest_name.hpp>

#include <algorithm>
#include <map>
#include <set>

namespace creel::pipeline::detail {
namespace {

// How many names a message lists before it says "and N more".
constexpr std::size_t kListed = 12;

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kListed; ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kListed) text += " and " + std::to_string(names.size() - kListed) + " more";
  return text;
}

std::string origin_text(const Place& place) {
  return place.line > 0 ? *place.origin + ":" + std::to_string(place.line) : *place.origin;
}

std::string child(const std::string& section, const std::string& name) {
  return section.empty() ? name : section + "." + name;
}

}  // namespace

Reader::Reader(std::vector<Key> keys, std::string_view source, std::filesystem::path folder, Issues& issues,
               LoadedConfig& loaded)
    : keys_(std::move(keys)), source_(source), folder_(std::move(folder)), issues_(issues), loaded_(loaded) {
  for (const Key& key : keys_) loaded_.origins.emplace(key.path, "default");
}

void Reader::read(const Node& root) {
  issues_.set_place("", Place{root.place.origin, 1, 1});
  if (root.kind == Node::Kind::Null) {
    issues_.add(issues_.place_of(""), "", "is empty; `creel config` lists the keys that a run needs");
    return;
  }
  section(root, "");
  if (root.kind != Node::Kind::Map) return;
  report_missing();
}

void Reader::section(const Node& node, const std::string& path) {
  if (node.kind != Node::Kind::Map) {
    const bool nothing = node.kind == Node::Kind::Null;
    std::string message =
        nothing ? "has no value of the keys " : shown(node) + ", must be a section of the keys ";
    message += listed(names_in(path));
    if (node.overridden) {
      message += "; set one of them";
    } else if (!path.empty()) {
      message += nothing ? "; write them indented below it, or remove it" : "; write them indented below it";
    }
    issues_.add(node.place, path, message);
    return;
  }
  std::map<std::string, const Entry*> seen;
  for (const Entry& one : node.entries) {
    const std::string full = child(path, one.key);
    const auto [first, fresh] = seen.emplace(one.key, &one);
    if (fresh) {
      entry(one, full, path);
    } else {
      issues_.add(
          one.place, full,
          "is given twice, first in line " + std::to_string(first->second->place.line) + "; remove one");
    }
  }
}

void Reader::entry(const Entry& entry, const std::string& path, const std::string& parent) {
  if (const Key* key = find(path)) {
    issues_.set_place(path, entry.value->place);
    loaded_.origins.insert_or_assign(path, origin_text(entry.value->place));
    value(*key, *entry.value);
  } else if (is_section(path)) {
    issues_.set_place(path, entry.place);
    section(*entry.value, path);
  } else {
    report_unknown(entry, path, parent);
  }
}

void Reader::value(const Key& key, const Node& node) {
  std::visit([&](auto* slot) { fill(key, node, slot); }, key.slot(loaded_.config));
}

void Reader::report_unknown(const Entry& entry, const std::string& path, const std::string& parent) {
  // An unknown model has no table of its own, so nothing can be said about its keys.
  if (parent.starts_with("model") && !issues_.right("model.name")) return;
  const std::vector<std::string> siblings = names_in(parent);
  if (const auto near = nearest_name(entry.key, siblings)) {
    issues_.add(entry.place, path, "unknown key; did you mean " + child(parent, *near) + "?");
    return;
  }
  // The right name at a wrong place: `batch` at the top instead of data.batch.
  for (const Key& key : keys_) {
    if (key.last() != entry.key) continue;
    issues_.add(entry.place, path, "unknown key; did you mean " + std::string(key.path) + "?");
    return;
  }
  issues_.add(entry.place, path,
              "unknown key; " + (parent.empty() ? std::string("the sections are ") : parent + " has ") +
                  listed(siblings) + ". Remove it or correct its name");
}

void Reader::report_missing() {
  std::set<std::string_view> reported;
  for (const Key& key : keys_) {
    const std::string_view section = key.section();
    const bool needed =
        key.need == Need::Always || (key.need == Need::WithSection && issues_.was_written(section));
    if (!needed || issues_.was_written(key.path) || !issues_.right(section)) continue;
    const bool whole = !section.empty() && !issues_.was_written(section);  // then one line for all its keys
    const std::string_view missing = whole ? section : key.path;
    if (!reported.insert(missing).second) continue;
    const std::string what = whole ? "give it " + listed(names_in(section)) : "add it: " + type_text(key);
    issues_.add(issues_.place_of(section), std::string(missing), "is missing; " + what);
  }
}

const Key* Reader::find(std::string_view path) const {
  const auto found =
      std::find_if(keys_.begin(), keys_.end(), [&](const Key& key) { return key.path == path; });
  return found == keys_.end() ? nullptr : &*found;
}

bool Reader::is_section(std::string_view path) const {
  return std::any_of(keys_.begin(), keys_.end(), [&](const Key& key) {
    return key.path.size() > path.size() && key.path.starts_with(path) && key.path[path.size()] == '.';
  });
}

std::vector<std::string> Reader::names_in(std::string_view section) const {
  std::vector<std::string> names;
  for (const Key& key : keys_) {
    std::string_view rest = key.path;
    if (!section.empty()) {
      if (!rest.starts_with(section) || rest.size() <= section.size() || rest[section.size()] != '.')
        continue;
      rest.remove_prefix(section.size() + 1);
    }
    const std::string name(rest.substr(0, rest.find('.')));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

}  // namespace creel::pipeline::detail
