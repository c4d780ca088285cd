#pragma once

#include "thread_record.hpp"

#include <creel/runtime/thread_container.hpp>

#include <memory>

namespace creel::detail {

/// Threads that the calling thread starts in this scope, by whatever factory, stand under `container` in
/// dumps.
class ContainerScope {
 public:
  explicit ContainerScope(const ThreadContainer& container) noexcept
      : running_(*current_record().running.load(std::memory_order_relaxed)), before_(running_.starts_in) {
    running_.starts_in = &container;
  }
  ~ContainerScope() { running_.starts_in = before_; }
  ContainerScope(const ContainerScope&) = delete;
  ContainerScope& operator=(const ContainerScope&) = delete;

 private:
  RunningState& running_;
  const ThreadContainer* before_;
};

}  // namespace creel::detail
