#include "container_scope.hpp"

#include <creel/runtime/error.hpp>

#include <utility>

namespace creel::detail {

Thread start_in(const ThreadContainer& container, const ThreadFactory& factory, std::function<void()> body) {
  const ContainerScope scope{container};
  Thread thread = factory(std::move(body));
  if (!thread) throw RejectedError("the thread factory of \"" + container.name() + "\" made no thread");
  if (thread.state() == ThreadState::New) thread.start();
  return thread;
}

}  // namespace creel::detail
