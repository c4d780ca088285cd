#pragma once

#include "document.hpp"

#include <creel/pipeline/config/config_issue.hpp>

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline::detail {

/// Collects what is wrong, and knows where each key was written.
class Issues {
 public:
  void add(const Place& place, std::string key, std::string message);

  /// Remembers where a key's value, or a section, was written.
  void set_place(std::string path, const Place& place) { places_.insert_or_assign(std::move(path), place); }

  /// Where the key's value stands; else the nearest section around it.
  const Place& place_of(std::string_view path) const;
  bool was_written(std::string_view path) const { return places_.contains(path); }

  /// Whether the key and the sections around it are right so far. A check over several keys asks first, so
  /// that one mistake is not reported twice.
  bool right(std::string_view path) const;

  std::vector<ConfigIssue>& list() { return list_; }

 private:
  std::vector<ConfigIssue> list_;
  std::set<std::string, std::less<>> wrong_;
  std::map<std::string, Place, std::less<>> places_;
};

}  // namespace creel::pipeline::detail
