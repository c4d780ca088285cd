#include <creel/runtime/error.hpp>
#include <creel/scheduler/task_graph.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>

namespace creel::scheduler {
namespace {

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : type.name();
}

}  // namespace

StageInfo TaskGraph::info(const StageOptions& options, const char* kind) {
  if (options.name.empty()) throw Error(std::string("a ") + kind + " stage has no name");
  if (options.workers == 0) throw Error("stage " + options.name + " has 0 workers; give it at least 1");
  return {.name = options.name, .kind = kind, .workers = options.workers};
}

StageInfo TaskGraph::single(const StageOptions& options, const char* kind) {
  if (options.workers != 1) {
    throw Error("stage " + options.name + " is a " + kind + " and has " + std::to_string(options.workers) +
                " workers; only a map or a sink may have more than 1");
  }
  return info(options, kind);
}

std::size_t TaskGraph::add_edge(const StageOptions& options, const std::type_info& type, MakeChannel make) {
  const std::size_t capacity = options.capacity > 0 ? options.capacity : 2 + 2 * options.workers;
  edges_.push_back(
      {.producer = kNone, .consumer = kNone, .capacity = capacity, .type = &type, .make = std::move(make)});
  return edges_.size() - 1;
}

void TaskGraph::add(StageInfo info, std::size_t input, std::size_t output, MakeStage make) {
  const auto same = [&](const Node& node) { return node.info.name == info.name; };
  if (std::any_of(nodes_.begin(), nodes_.end(), same)) {
    throw Error("graph " + name_ + " has two stages called " + info.name);
  }
  const std::size_t number = nodes_.size();
  if (input != kNone) connect(input, number);
  if (output != kNone) edges_[output].producer = number;
  nodes_.push_back({.info = std::move(info), .input = input, .output = output, .make = std::move(make)});
}

void TaskGraph::connect(std::size_t edge, std::size_t consumer) {
  if (edge >= edges_.size()) throw Error("graph " + name_ + ": the flow belongs to another graph");
  if (edges_[edge].consumer != kNone) {
    throw Error("graph " + name_ + ": the output of stage " + nodes_[edges_[edge].producer].info.name +
                " is connected twice");
  }
  edges_[edge].consumer = consumer;
}

std::string TaskGraph::to_text() const {
  std::string text = "graph " + name_ + "\n";
  std::size_t width = 0;
  for (const Node& node : nodes_) width = std::max(width, node.info.name.size());
  for (const Node& node : nodes_) {
    text.append("  ")
        .append(node.info.name)
        .append(width - node.info.name.size() + 2, ' ')
        .append(node.info.kind);
    text.append(" x ").append(std::to_string(node.info.workers));
    if (node.output != kNone) {
      const Edge& edge = edges_[node.output];
      const std::string to = edge.consumer == kCaller ? "the caller"
                             : edge.consumer == kNone ? "nowhere"
                                                      : nodes_[edge.consumer].info.name;
      text.append(" -> ").append(to).append(", ").append(type_name(*edge.type));
      text.append(", room for ").append(std::to_string(edge.capacity));
    }
    text += '\n';
  }
  return text;
}

}  // namespace creel::scheduler
