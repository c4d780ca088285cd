#pragma once

#include "thread_record.hpp"

#include <creel/runtime/lock_support.hpp>

namespace creel::detail {

/// Runs `wait(argument)` while the calling frame stands published in `self.park_site` as waiting for
/// `blocker`, with the thread state that goes with it. Nests: a wait inside a blocking() body stands in for
/// it until it is over.
void run_published(ThreadRecord& self, const Blocker& blocker, bool timed, void (*wait)(void*),
                   void* argument);

}  // namespace creel::detail
