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
      : record_(current_record()), before_(record_.starts_in) {
    record_.starts_in = &container;
  }
  ~ContainerScope() { record_.starts_in = before_; }
  ContainerScope(const ContainerScope&) = delete;
  ContainerScope& operator=(const ContainerScope&) = delete;

 private:
  ThreadRecord& record_;
  const ThreadContainer* before_;
};

}  // namespace creel::detail
