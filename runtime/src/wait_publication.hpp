#pragma once

#include "thread_record.hpp"

#include <creel/runtime/lock_support.hpp>

namespace creel::detail {

/// A wait that is about to be published.
struct PublishedWait {
  ThreadRecord& self;
  const Blocker& blocker;
  bool timed;
  void (*wait)(void*);
  void* argument;
};

/// What creel_call_published() calls: fills the site and runs the wait. `wait` is a PublishedWait.
void wait_published(void* wait);
/// The same with the site of an outer wait put aside meanwhile.
void run_published_inside(PublishedWait& wait);

/// Runs `wait(argument)` while the calling frame stands published in `self.park_site` as waiting for
/// `blocker`, with the thread state that goes with it. Nests: a wait inside a blocking() body stands in for
/// it until it is over. Always inlined, and no frame of its own: stacks begin with who waits.
[[gnu::always_inline, gnu::artificial]] inline void run_published(ThreadRecord& self, const Blocker& blocker,
                                                                  bool timed, void (*wait)(void*),
                                                                  void* argument) {
  PublishedWait published{self, blocker, timed, wait, argument};
  if (self.park_site.epoch.load(std::memory_order_relaxed) % 2 == 0) [[likely]] {
    creel_call_published(&self.park_site.registers, wait_published, &published);
  } else {
    run_published_inside(published);
  }
}

}  // namespace creel::detail
