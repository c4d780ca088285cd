#pragma once

#include "thread_record.hpp"

#include <creel/runtime/thread_container.hpp>

#include <functional>

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

/// A thread of `factory` that runs `body`, listed under `container`. One that comes unstarted, as from Java's
/// factories, is started. Throws RejectedError if none comes, and what the factory throws.
Thread start_in(const ThreadContainer& container, const ThreadFactory& factory, std::function<void()> body);

}  // namespace creel::detail
