#include "carrier.hpp"

#include "native_thread.hpp"
#include "sync_point.hpp"
#include "thread_body.hpp"
#include "thread_local_map.hpp"
#include "virtual_scheduler.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <sched.h>

#include <cstdio>
#include <cstdlib>

// What a carrier does with one virtual thread, and what a virtual thread does with its carrier.

extern "C" {
[[gnu::tls_model("initial-exec"),
  gnu::visibility("hidden")]] thread_local constinit creel::detail::Carrier* creel_carrier = nullptr;
}

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// Most overflows end in the guard page; without one this finds those that were deep when the thread parked.
// What the next thread's turn does on this stack before it is its own again fits into what is asked for.
void check_stack_end(const VirtualThread& self) noexcept {
  constexpr std::uintptr_t kLeast = 1024;
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const std::uintptr_t low = self.stack_low.load(kRelaxed);
  if (here >= low + kLeast) [[likely]]
    return;
  std::fprintf(
      stderr,
      "virtual thread \"%s\" #%llu ran over its stack of %zu bytes; use Thread::Builder::stack_size\n",
      self.name().c_str(), static_cast<unsigned long long>(self.id), self.stack_high.load(kRelaxed) - low);
  std::abort();
}

void leave_carrier(VirtualThread& thread) noexcept {
  thread.os_tid.store(0, kRelaxed);
  thread.carrier.store(0, kRelaxed);
}

void dismount(Carrier& carrier, VirtualThread& thread) noexcept {
  carrier.mounted = nullptr;
  carrier.record->own().carrying.store(0, kRelaxed);
  leave_carrier(thread);
}

// For the stack's next thread. By atomic stores, not by a constructor: a dump may be reading it still.
void clear(RunningState& state) noexcept {
  state.held_count.store(0, kRelaxed);
  state.blocked_count.store(0, kRelaxed);
  state.waited_count.store(0, kRelaxed);
  state.blocked_ns.store(0, kRelaxed);
  state.carrying.store(0, kRelaxed);
  state.pinned_by.store(nullptr, kRelaxed);
  state.read_holds.reset();
  state.computing = nullptr;
  state.starts_in = nullptr;
}

void virtual_entry() {
  auto& self = static_cast<VirtualThread&>(current_record());
  {
    // On the thread's own stack to the end: destructors of what it captured may park.
    const std::function<void()> body = self.take_body();
    run_thread_body(self.shared_from_this(), body);
  }
  end_thread_locals(self);
  RunningState& state = self.own();
  self.running.store(nullptr, kRelaxed);
  clear(state);
  Carrier& carrier = *current_carrier();
  self.next = VirtualThread::Next::End;
  carrier.leaving = &self;
  dismount(carrier, self);
  set_current_record(carrier.record);
  leave_for_ever(self.point, carrier.point);
}

VirtualStack take_stack(Carrier& carrier, std::size_t bytes) {
  const std::uint32_t count = carrier.stack_count.load(kRelaxed);
  if (bytes == kDefaultVirtualStackBytes && count > 0) {
    carrier.stack_count.store(count - 1, kRelaxed);
    const std::uintptr_t low = carrier.stacks[count - 1];
    return {low, low + kDefaultVirtualStackBytes};
  }
  return acquire_virtual_stack(bytes);
}

void give_stack(Carrier& carrier, VirtualStack stack) noexcept {
  const std::uint32_t count = carrier.stack_count.load(kRelaxed);
  if (stack.high - stack.low == kDefaultVirtualStackBytes && count < Carrier::kStacks) {
    carrier.stacks[count] = stack.low;
    carrier.stack_count.store(count + 1, kRelaxed);
  } else {
    release_virtual_stack(stack);
  }
}

}  // namespace

void VirtualScheduler::run(Carrier& self) noexcept {
  CREEL_WRITE_THREAD_LOCAL(creel_carrier, &self);
  self.record = &current_record();
  self.has_record.store(true, std::memory_order_release);
  self.exceptions = &exception_state();
  adopt_stack(self.point, self.record->stack_low, self.record->stack_high);
  pin_watch_.notice();
  for (;;) run_one(self, next(self));
}

// Not less than there are: those that ended are counted before those that began.
std::uint64_t VirtualScheduler::stacks_in_use() const noexcept {
  const std::uint32_t count = carrier_count_.load(std::memory_order_acquire);
  std::uint64_t ended = 0, begun = 0;
  for (std::uint32_t i = 0; i < count; ++i)
    ended += carriers_[i].load(std::memory_order_acquire)->ended.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i)
    begun += carriers_[i].load(std::memory_order_acquire)->begun.load(kRelaxed);
  return begun - ended;
}

bool VirtualScheduler::are_stacks_kept() const noexcept {
  const std::uint32_t count = carrier_count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (carriers_[i].load(std::memory_order_acquire)->stack_count.load(kRelaxed) != 0) return true;
  }
  return false;
}

// There is no memory for its stack: it begins when another thread leaves one. If there is none that could, it
// ends with the error, which goes the way of an uncaught exception.
void VirtualScheduler::begin_later(Carrier& self, VirtualThread& thread,
                                   const std::exception& error) noexcept {
  if (!shortage_.exists()) {
    log::error(
        "virtual_thread.no_stack",
        {{"thread", thread.name()}, {"what", error.what()}, {"then", "it begins when another one ends"}});
  }
  const std::size_t bytes = thread.stack_low.load(kRelaxed);
  shortage_.add(thread);     // from here on somebody else may have it begin
  asymmetric_heavy_fence();  // finish() has its counterpart
  try {                      // what was left before told nobody
    release_virtual_stack(acquire_virtual_stack(bytes));
    return begin_waiting(self, bytes);
  } catch (const std::exception&) {  // there is still none
  }
  if (stacks_in_use() != 0 || are_stacks_kept()) return wake_all_carriers();
  if (!shortage_.remove(thread)) return;
  run_thread_body(thread.shared_from_this(), [&] { throw Error(error.what()); });
  thread.take_body();
  thread.end();
}

void VirtualScheduler::give_kept_stacks_back(Carrier& self) noexcept {
  while (const std::uint32_t count = self.stack_count.load(kRelaxed)) {
    self.stack_count.store(count - 1, kRelaxed);
    const std::uintptr_t low = self.stacks[count - 1];
    release_virtual_stack({low, low + kDefaultVirtualStackBytes});
  }
}

// The next of those that wait for a stack begins; what this carrier keeps goes back to where all take from.
void VirtualScheduler::begin_waiting(Carrier& self, std::size_t bytes) noexcept {
  give_kept_stacks_back(self);
  if (VirtualThread* thread = shortage_.take(bytes)) submit_again(self, *thread);
}

// The first turn of a thread: it gets its stack.
bool VirtualScheduler::begin(Carrier& self, VirtualThread& thread) noexcept {
  VirtualStack stack;
  try {
    stack = take_stack(self, thread.stack_low.load(kRelaxed));
  } catch (const std::exception& error) {
    begin_later(self, thread, error);
    return false;
  }
  self.begun.store(self.begun.load(kRelaxed) + 1, kRelaxed);
  const std::uintptr_t top = (stack.high - sizeof(RunningState)) & ~std::uintptr_t{63};
  thread.stack_low.store(stack.low, kRelaxed);
  thread.stack_high.store(stack.high, kRelaxed);
  void* const place = reinterpret_cast<void*>(top);
  auto* const running = stack.fresh ? ::new (place) RunningState : static_cast<RunningState*>(place);
  running->started_ns.store(coarse_monotonic_ns(), kRelaxed);
  thread.running.store(running, std::memory_order_release);
  make_stack(thread.point, stack.low, top, virtual_entry);
  mount(self, thread);
  switch_stacks(self.point, thread.point);
  return true;
}

// The last act for a thread, on its carrier's stack: it leaves its own.
void VirtualScheduler::finish(Carrier& self, VirtualThread& thread) noexcept {
  discard_stack(thread.point);
  const VirtualStack stack{thread.stack_low.load(kRelaxed), thread.stack_high.load(kRelaxed)};
  give_stack(self, stack);
  // release: who counts this one as ended counts it as begun.
  self.ended.store(self.ended.load(kRelaxed) + 1, std::memory_order_release);
  thread.end();
  asymmetric_light_fence();  // see begin_later()
  if (shortage_.exists()) [[unlikely]]
    begin_waiting(self, stack.high - stack.low);
}

void VirtualScheduler::mount(Carrier& self, VirtualThread& thread) noexcept {
  self.mounted = &thread;
  thread.carrier.store(self.record->id.load(kRelaxed), kRelaxed);
  thread.os_tid.store(self.record->os_tid.load(kRelaxed), kRelaxed);
  self.record->own().carrying.store(thread.id.load(kRelaxed), kRelaxed);
  set_current_record(&thread);
}

void VirtualScheduler::run_one(Carrier& self, VirtualThread& thread) noexcept {
  if (thread.has_begun()) [[likely]] {
    mount(self, thread);
    switch_stacks(self.point, thread.point);
  } else if (!begin(self, thread)) {
    return;
  }
  // Maybe another one comes back than the one that was sent: they switch among themselves.
  *self.exceptions = {};
  settle(self);
}

// What the thread that has left last wanted to be done with it. On the carrier's stack or on that of the
// thread that runs now.
void VirtualScheduler::settle(Carrier& self) noexcept {
  VirtualThread& thread = *std::exchange(self.leaving, nullptr);
  switch (thread.next) {
    case VirtualThread::Next::Park: {
      sync_point();
      std::uint32_t expected = ThreadRecord::kNoPermit;
      // release: whoever unparks it switches to the stack that we have just left. From here on it may be
      // anywhere.
      if (!thread.permit.compare_exchange_strong(expected, ThreadRecord::kParked, std::memory_order_release,
                                                 kRelaxed)) {
        submit_again(self, thread);
      }
      return;
    }
    case VirtualThread::Next::Yield:
      submit_again(self, thread);
      return;
    case VirtualThread::Next::End:
      finish(self, thread);
      return;
  }
}

void VirtualScheduler::leave(VirtualThread& self, VirtualThread::Next next) noexcept {
  check_stack_end(self);
  Carrier& carrier = *current_carrier();
  const ExceptionState exceptions = *carrier.exceptions;
  self.next = next;
  carrier.leaving = &self;
  VirtualThread* to = is_surplus() ? nullptr : pick(carrier);
  if (to != nullptr && to->has_begun()) [[likely]] {
    leave_carrier(self);
    mount(carrier, *to);
    switch_stacks(self.point, to->point);
  } else {
    dismount(carrier, self);
    carrier.picked = to;
    set_current_record(carrier.record);
    switch_stacks(self.point, carrier.point);
  }
  Carrier& now = *current_carrier();
  *now.exceptions = exceptions;
  if (now.leaving != nullptr) settle(now);
}

void start_virtual(VirtualThread& thread) { VirtualScheduler::instance().submit_new(thread); }

void park_virtual(VirtualThread& self, Deadline deadline) noexcept {
  VirtualScheduler& scheduler = current_carrier()->scheduler;
  if (!deadline.is_never()) scheduler.timer().add(self, deadline);
  scheduler.leave(self, VirtualThread::Next::Park);
  if (!deadline.is_never()) scheduler.timer().remove(self);
  self.permit.exchange(ThreadRecord::kNoPermit, std::memory_order_acquire);
}

void unpark_virtual(VirtualThread& thread) noexcept { VirtualScheduler::instance().submit_woken(thread); }

void yield_virtual(VirtualThread& self) noexcept {
  const Carrier& carrier = *current_carrier();
  if (carrier.scheduler.is_alone(carrier)) return;
  if (self.pinned) [[unlikely]] {
    ::sched_yield();
    return;
  }
  carrier.scheduler.leave(self, VirtualThread::Next::Yield);
}

CarrierCompensation::CarrierCompensation(ThreadRecord& self)
    : blocked_(self.is_virtual ? static_cast<VirtualThread*>(&self) : nullptr) {
  if (blocked_ == nullptr) return;
  current_carrier()->scheduler.carrier_blocks();
  blocked_->compensated.fetch_add(1, kRelaxed);
}

CarrierCompensation::~CarrierCompensation() {
  if (blocked_ == nullptr) return;
  blocked_->compensated.fetch_sub(1, kRelaxed);
  current_carrier()->scheduler.carrier_unblocks();
}

PinnedWait::PinnedWait() { current_carrier()->scheduler.pinned_wait_begins(); }
PinnedWait::~PinnedWait() { current_carrier()->scheduler.pinned_wait_ends(); }

}  // namespace creel::detail
