#include "thread_container_node.hpp"
#include "thread_record.hpp"

#include <algorithm>
#include <atomic>
#include <mutex>

namespace creel {
namespace {

struct Nodes {
  std::mutex lock;
  std::vector<std::weak_ptr<ThreadContainer::Node>> list;
};

Nodes& nodes() noexcept {
  static Nodes* all = new Nodes;  // never freed: executors may be static objects
  return *all;
}

}  // namespace

std::shared_ptr<ThreadContainer> ThreadContainer::create(std::string name, const char* type,
                                                         std::shared_ptr<Node> parent) {
  static std::atomic<std::uint64_t> next{1};
  auto node = std::make_shared<Node>();
  node->id = next.fetch_add(1, std::memory_order_relaxed);
  node->name = std::move(name);
  node->type = type;
  node->parent = std::move(parent);
  node->owner = detail::current_record().id;
  {
    Nodes& all = nodes();
    const std::lock_guard guard{all.lock};
    std::erase_if(all.list, [](const auto& weak) { return weak.expired(); });
    all.list.push_back(node);
  }
  return std::shared_ptr<ThreadContainer>(new ThreadContainer(std::move(node)));
}

ThreadContainer::~ThreadContainer() = default;

const std::string& ThreadContainer::name() const noexcept { return node_->name; }
const char* ThreadContainer::type() const noexcept { return node_->type; }
std::uint64_t ThreadContainer::owner() const noexcept { return node_->owner; }

std::vector<std::shared_ptr<ThreadContainer::Node>> ThreadContainer::Node::snapshot() {
  std::vector<std::shared_ptr<Node>> live;
  Nodes& all = nodes();
  const std::lock_guard guard{all.lock};
  for (const auto& weak : all.list) {
    if (auto node = weak.lock()) live.push_back(std::move(node));
  }
  return live;
}

}  // namespace creel
