#include "issues.hpp"

#include <algorithm>
#include <tuple>

namespace creel::pipeline {
namespace {

std::string joined(const std::vector<ConfigIssue>& issues) {
  std::string text;
  for (const ConfigIssue& issue : issues) text += (text.empty() ? "" : "\n") + issue.text();
  return text;
}

}  // namespace

std::string ConfigIssue::text() const {
  std::string text = origin;
  if (line > 0) text += ":" + std::to_string(line) + ":" + std::to_string(column);
  if (!key.empty()) text += ": " + key;
  return text + ": " + message;
}

ConfigErrors::ConfigErrors(std::vector<ConfigIssue> issues, std::source_location where)
    : ConfigError(issues.empty() ? "" : issues.front().origin, issues.empty() ? 0 : issues.front().line,
                  issues.empty() ? 0 : issues.front().column, issues.empty() ? "" : issues.front().message,
                  where),
      issues_(std::move(issues)),
      text_(joined(issues_)) {}

namespace detail {

void Issues::add(const Place& place, std::string key, std::string message) {
  wrong_.insert(key);
  list_.push_back(
      {place.origin ? *place.origin : "", place.line, place.column, std::move(key), std::move(message)});
}

const Place& Issues::place_of(std::string_view path) const {
  for (;;) {
    if (const auto found = places_.find(path); found != places_.end()) return found->second;
    const std::size_t dot = path.rfind('.');
    path = dot == std::string_view::npos ? std::string_view() : path.substr(0, dot);
  }
}

bool Issues::right(std::string_view path) const {
  for (;;) {
    if (wrong_.contains(path)) return false;
    const std::size_t dot = path.rfind('.');
    if (dot == std::string_view::npos) return true;
    path = path.substr(0, dot);
  }
}

}  // namespace detail
}  // namespace creel::pipeline
