#include "dump_engine.hpp"

#include "thread_record.hpp"

#include <pthread.h>

namespace creel::detail {

DumpEngine& DumpEngine::instance() noexcept {
  static DumpEngine* const engine = [] {
    // A dump takes the registry's locks under ours; fork() takes both, the one registered last first.
    ThreadRegistry::instance();
    ::pthread_atfork([] { instance().lock.lock(); }, [] { instance().lock.unlock(); },
                     [] { instance().lock.unlock(); });
    return new DumpEngine;  // never freed: threads may be dumped while static objects are destroyed
  }();
  return *engine;
}

void DumpEngine::refresh() {
  if (unwinder.refresh()) symbolizer.forget_objects();
}

}  // namespace creel::detail
