#include "document.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace creel::pipeline::detail {
namespace {

using NodePtr = std::shared_ptr<Node>;

// Builds our tree from the parser's events: YAML::Node drops duplicate keys' places, quotes, and where an
// alias stands.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::shared_ptr<const std::string> origin, std::vector<ConfigIssue>& issues)
      : origin_(std::move(origin)), issues_(issues) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(make(Node::Kind::Null, mark), anchor);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      report(place(mark), "an alias stands inside its own anchor; write the value out");
      add(make(Node::Kind::Null, mark), YAML::NullAnchor);
      return;
    }
    auto copy = std::make_shared<Node>(*found->second);
    copy->place = place(mark);
    add(std::move(copy), YAML::NullAnchor);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    NodePtr node = make(Node::Kind::Scalar, mark);
    node->text = value;
    node->quoted = tag == "!";
    if (!node->quoted && (value.empty() || value == "~" || value == "null")) node->kind = Node::Kind::Null;
    add(std::move(node), anchor);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::Sequence, mark, anchor);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::Map, mark, anchor);
  }
  void OnMapEnd() override {
    merge(*stack_.back().node);
    close();
  }

  NodePtr root() const { return root_; }

 private:
  struct Open {
    NodePtr node;
    YAML::anchor_t anchor;
    NodePtr key;  // of a map, when its value is to come
  };

  Place place(const YAML::Mark& mark) const {
    return {origin_, mark.line + 1, mark.column + 1, static_cast<std::size_t>(std::max(mark.pos, 0))};
  }
  NodePtr make(Node::Kind kind, const YAML::Mark& mark) const {
    auto node = std::make_shared<Node>();
    node->kind = kind;
    node->place = place(mark);
    return node;
  }
  void report(const Place& where, std::string message) {
    issues_.push_back({*origin_, where.line, where.column, "", std::move(message)});
  }
  void open(Node::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    stack_.push_back({make(kind, mark), anchor, nullptr});
  }
  void close() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    add(std::move(done.node), done.anchor);
  }
  void add(NodePtr node, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) anchors_[anchor] = node;
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    if (parent.node->kind == Node::Kind::Sequence) {
      parent.node->items.push_back(std::move(node));
    } else if (!parent.key) {
      if (node->kind != Node::Kind::Scalar) report(node->place, "a key must be a plain word");
      parent.key = std::move(node);
    } else {
      // The parser puts a value that is not there at the next word, lines away.
      if (node->kind == Node::Kind::Null) node->place = parent.key->place;
      parent.node->entries.push_back({parent.key->text, parent.key->place, std::move(node)});
      parent.key = nullptr;
    }
  }
  void merge(Node& map) {
    std::vector<Entry> own;
    std::vector<Entry> merged;
    const auto take = [&](const Node& source) {
      if (source.kind != Node::Kind::Map) {
        report(source.place, "<< merges only a map, or a list of maps");
        return;
      }
      for (Entry entry : source.entries) {
        const auto same = [&](const Entry& other) { return other.key == entry.key; };
        if (std::any_of(merged.begin(), merged.end(), same)) continue;  // the map named first goes first
        entry.merged = true;
        merged.push_back(std::move(entry));
      }
    };
    for (Entry& entry : map.entries) {
      if (entry.key != "<<") {
        own.push_back(std::move(entry));
      } else if (entry.value->kind == Node::Kind::Sequence) {
        for (const NodePtr& item : entry.value->items) take(*item);
      } else {
        take(*entry.value);
      }
    }
    for (Entry& entry : merged) {
      const auto same = [&](const Entry& other) { return other.key == entry.key; };
      if (std::none_of(own.begin(), own.end(), same)) own.push_back(std::move(entry));
    }
    map.entries = std::move(own);
  }

  std::shared_ptr<const std::string> origin_;
  std::vector<ConfigIssue>& issues_;
  std::map<YAML::anchor_t, NodePtr> anchors_;
  std::vector<Open> stack_;
  NodePtr root_;
};

// A tab as indentation is read by the parser as part of a word, with puzzling messages far from the place.
bool report_tabs(std::string_view text, const std::string& origin, std::vector<ConfigIssue>& issues) {
  int line = 1;
  bool found = false;
  for (std::size_t start = 0; start < text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view row = text.substr(start, end - start);
    const std::size_t word = std::min(row.find_first_not_of(" \t\r"), row.size());
    const std::size_t tab = row.substr(0, word).find('\t');
    if (tab != std::string_view::npos && word < row.size() && row[word] != '#') {
      issues.push_back(
          {origin, line, static_cast<int>(tab) + 1, "", "a tab indents this line; YAML takes spaces only"});
      found = true;
    }
    start = end + 1;
  }
  return found;
}

}  // namespace

NodePtr parse_document(std::string_view text, std::shared_ptr<const std::string> origin,
                       std::vector<ConfigIssue>& issues) {
  const auto nothing = [] { return std::make_shared<Node>(); };
  if (const std::size_t zero = text.find('\0'); zero != std::string_view::npos) {
    issues.push_back({*origin, 1, 1, "", "holds a zero byte, so it is no UTF-8 text; save it as UTF-8"});
    return nothing();
  }
  if (report_tabs(text, *origin, issues)) return nothing();
  Builder builder(origin, issues);
  const std::size_t issues_before = issues.size();
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return nothing();
    Builder second(origin, issues);
    if (parser.HandleNextDocument(second)) {
      const Place where = second.root() ? second.root()->place : Place{};
      issues.push_back(
          {*origin, where.line, where.column, "", "a second document begins; a run has one, remove the ---"});
    }
  } catch (const YAML::Exception& e) {
    // A mark of -1 is yaml-cpp's "no place".
    issues.push_back({*origin, std::max(e.mark.line + 1, 1), std::max(e.mark.column + 1, 1), "",
                      "is not YAML: " + e.msg + "; correct the syntax near here"});
  }
  return issues.size() == issues_before && builder.root() ? builder.root() : nothing();
}

std::string shown(const Node& node) {
  constexpr std::size_t kRepeated = 60;
  if (node.overridden && node.text.empty()) return "has no value";
  switch (node.kind) {
    case Node::Kind::Null:
      return "has no value";
    case Node::Kind::Sequence:
      return "is a list";
    case Node::Kind::Map:
      return "is a section";
    case Node::Kind::Scalar:
      break;
  }
  const std::string text = node.text.size() > kRepeated ? node.text.substr(0, kRepeated) + "…" : node.text;
  return node.quoted ? "is the text \"" + text + "\"" : "is '" + text + "'";
}

}  // namespace creel::pipeline::detail
