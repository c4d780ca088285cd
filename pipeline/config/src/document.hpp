#pragma once

#include <creel/pipeline/config/config_issue.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace creel::pipeline::detail {

/// Where something was written. line and column count from 1; 0: the origin has none (an override).
struct Place {
  std::shared_ptr<const std::string> origin;
  int line = 0;
  int column = 0;
  std::size_t offset = 0;  ///< byte in the text
};

struct Node;

struct Entry {
  std::string key;
  Place place;
  std::shared_ptr<Node> value;
  bool merged = false;  ///< came by `<<`: an entry of the map's own goes before it
};

/// A YAML value that remembers its place.
struct Node {
  enum class Kind { Null, Scalar, Sequence, Map };
  Kind kind = Kind::Null;
  Place place;
  std::string text;     ///< of a scalar
  bool quoted = false;  ///< a quoted scalar is text, whatever it looks like
  bool overridden = false;
  std::vector<std::shared_ptr<Node>> items;
  std::vector<Entry> entries;
};

/// The tree of a YAML document with `<<` merged in; a null node for an empty document. What is wrong goes to
/// `issues`; the tree is then null.
std::shared_ptr<Node> parse_document(std::string_view text, std::shared_ptr<const std::string> origin,
                                     std::vector<ConfigIssue>& issues);

/// What a node is, for a message: `is 'abc'`, `is a list`, `has no value`.
std::string shown(const Node& node);

}  // namespace creel::pipeline::detail
