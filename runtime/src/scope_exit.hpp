#pragma once

#include <utility>

namespace creel::detail {

/// Calls `function` at the end of the scope, however it is left.
template <typename Function>
class ScopeExit {
 public:
  explicit ScopeExit(Function function) noexcept : function_(std::move(function)) {}
  ~ScopeExit() { function_(); }
  ScopeExit(const ScopeExit&) = delete;
  ScopeExit& operator=(const ScopeExit&) = delete;

 private:
  Function function_;
};

}  // namespace creel::detail
