#include "wait_publication.hpp"

#include "native_thread.hpp"
#include "runtime_counters.hpp"

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

void open_site(ParkSite& site) noexcept {
  site.epoch.store(site.epoch.load(kRelaxed) + 1,
                   std::memory_order_release);  // registers and fields are in place
}

void close_site(ParkSite& site) noexcept {
  site.epoch.store(site.epoch.load(kRelaxed) + 1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_release);  // the next wait's fields come after
}

ThreadState state_of(WaitKind kind, bool timed) noexcept {
  if (kind == WaitKind::MonitorEnter) return ThreadState::Blocked;
  return timed ? ThreadState::TimedWaiting : ThreadState::Waiting;
}

// Closes the site when a wait throws (a blocking() body may) as when it returns.
class OpenSite {
 public:
  explicit OpenSite(const PublishedWait& wait) noexcept : self_(wait.self) {
    ParkSite& site = self_.park_site;
    site.object.store(wait.blocker.object, kRelaxed);
    site.type.store(wait.blocker.type, kRelaxed);
    site.name.store(wait.blocker.name, kRelaxed);
    site.owner.store(wait.blocker.owner, kRelaxed);
    site.wakers.store(wait.blocker.wakers, kRelaxed);
    site.kind.store(wait.blocker.kind, kRelaxed);
    site.timed.store(wait.timed, kRelaxed);
    // What a platform thread's wait costs hides the exact clock; a virtual thread's does not.
    site.since_ns.store(now(), kRelaxed);
    open_site(site);
    self_.state.store(state_of(wait.blocker.kind, wait.timed), kRelaxed);
    const bool blocked = wait.blocker.kind == WaitKind::MonitorEnter;
    if (blocked) runtime_counters.contended_monitors.fetch_add(1, kRelaxed);
    auto& count = blocked ? self_.own().blocked_count : self_.own().waited_count;
    count.store(count.load(kRelaxed) + 1, kRelaxed);  // one writer
  }
  ~OpenSite() {
    self_.state.store(ThreadState::Runnable, kRelaxed);
    if (self_.park_site.kind.load(kRelaxed) == WaitKind::MonitorEnter) {
      auto& blocked = self_.own().blocked_ns;
      blocked.store(blocked.load(kRelaxed) + now() - self_.park_site.since_ns.load(kRelaxed), kRelaxed);
    }
    close_site(self_.park_site);
  }
  OpenSite(const OpenSite&) = delete;
  OpenSite& operator=(const OpenSite&) = delete;

 private:
  std::int64_t now() const noexcept { return self_.is_virtual ? coarse_monotonic_ns() : monotonic_ns(); }

  ThreadRecord& self_;
};

// The site of an outer wait, put aside while an inner one uses it.
class OuterWait {
 public:
  explicit OuterWait(ThreadRecord& self) noexcept
      : self_(self), state_(self.state.load(kRelaxed)), registers_(self.park_site.registers) {
    const ParkSite& site = self.park_site;
    blocker_ = {site.object.load(kRelaxed), site.type.load(kRelaxed), site.name.load(kRelaxed),
                site.owner.load(kRelaxed),  site.kind.load(kRelaxed), site.wakers.load(kRelaxed)};
    timed_ = site.timed.load(kRelaxed);
    since_ns_ = site.since_ns.load(kRelaxed);
    close_site(self.park_site);
  }
  ~OuterWait() {
    ParkSite& site = self_.park_site;
    site.registers = registers_;
    site.object.store(blocker_.object, kRelaxed);
    site.type.store(blocker_.type, kRelaxed);
    site.name.store(blocker_.name, kRelaxed);
    site.owner.store(blocker_.owner, kRelaxed);
    site.wakers.store(blocker_.wakers, kRelaxed);
    site.kind.store(blocker_.kind, kRelaxed);
    site.timed.store(timed_, kRelaxed);
    site.since_ns.store(since_ns_, kRelaxed);
    open_site(site);
    self_.state.store(state_, kRelaxed);
  }
  OuterWait(const OuterWait&) = delete;
  OuterWait& operator=(const OuterWait&) = delete;

 private:
  ThreadRecord& self_;
  ThreadState state_;
  Registers registers_;
  Blocker blocker_;
  bool timed_ = false;
  std::int64_t since_ns_ = 0;
};

}  // namespace

void wait_published(void* published) {
  const PublishedWait& wait = *static_cast<PublishedWait*>(published);
  const OpenSite open{wait};
  wait.wait(wait.argument);
}

void run_published_inside(PublishedWait& wait) {
  const OuterWait outer{wait.self};
  creel_call_published(&wait.self.park_site.registers, wait_published, &wait);
}

}  // namespace creel::detail
