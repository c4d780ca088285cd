#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace creel {

/// A named group of threads, an executor's or a scope's, shown as a tree in dumps. Java's ThreadContainer.
class ThreadContainer {
 public:
  struct Node;

  /// `type` is a static string ("creel::ThreadPoolExecutor"); `parent` is another's node(), null for the
  /// root.
  static std::shared_ptr<ThreadContainer> create(std::string name, const char* type,
                                                 std::shared_ptr<Node> parent = nullptr);
  ~ThreadContainer();

  const std::string& name() const noexcept;
  const char* type() const noexcept;
  /// Id of the thread that made it.
  std::uint64_t owner() const noexcept;

  const std::shared_ptr<Node>& node() const noexcept { return node_; }

 private:
  explicit ThreadContainer(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  std::shared_ptr<Node> node_;
};

}  // namespace creel
