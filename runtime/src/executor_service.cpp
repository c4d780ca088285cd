#include <creel/runtime/executor.hpp>
#include <creel/runtime/thread.hpp>

namespace creel {

void ExecutorService::close() {
  shutdown();
  bool interrupted = false;
  for (bool terminated = false; !terminated;) {
    try {
      terminated = await_termination();
    } catch (const InterruptedError&) {
      if (!interrupted) shutdown_now();
      interrupted = true;
    }
  }
  if (interrupted) Thread::current().interrupt();
}

}  // namespace creel
