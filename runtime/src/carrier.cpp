#include "native_thread.hpp"
#include "sync_point.hpp"
#include "thread_body.hpp"
#include "thread_local_map.hpp"
#include "virtual_scheduler.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <cstdio>
#include <cstdlib>

// What a carrier does with one virtual thread, and what a virtual thread does with its carrier.

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

[[gnu::tls_model("initial-exec")]] thread_local Carrier* tls_carrier = nullptr;

// Out of line, and opaque: a virtual thread comes back from a switch on another carrier, while the compiler
// would keep the address of a thread_local over it.
[[gnu::noinline]] Carrier* current_carrier() noexcept {
  asm volatile("" ::: "memory");
  return tls_carrier;
}

// Most overflows end in the guard page; without one this finds those that were deep when the thread parked.
void check_stack_end(const VirtualThread& self) noexcept {
  constexpr std::uintptr_t kLeast = 512;
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  if (here >= self.stack.low + kLeast) [[likely]]
    return;
  std::fprintf(
      stderr,
      "virtual thread \"%s\" #%llu ran over its stack of %zu bytes; use Thread::Builder::stack_size\n",
      self.name().c_str(), static_cast<unsigned long long>(self.id), self.stack.high - self.stack.low);
  std::abort();
}

void leave_carrier(VirtualThread& self, VirtualThread::Next next) noexcept {
  check_stack_end(self);
  self.next = next;
  switch_stacks(self.point, current_carrier()->point);
}

void virtual_entry(void* argument) {
  auto& self = *static_cast<VirtualThread*>(argument);
  run_thread_body(std::static_pointer_cast<ThreadRecord>(self.shared_from_this()), self.body, self.handler);
  self.body = nullptr;  // here, on the thread's own stack: destructors of what it captured may park
  self.handler = nullptr;
  end_thread_locals(self);
  self.next = VirtualThread::Next::End;
  leave_for_ever(self.point, current_carrier()->point);
}

}  // namespace

void VirtualScheduler::submit(VirtualThread& thread) noexcept {
  Carrier* carrier = current_carrier();
  if (carrier == nullptr || &carrier->scheduler != this || !carrier->queue.push(&thread)) push_shared(thread);
  signal_work();
}

// The carrier itself goes on with what is first in its queue; others are called only if there is more.
void VirtualScheduler::submit_again(Carrier& self, VirtualThread& thread) noexcept {
  if (!self.queue.push(&thread)) push_shared(thread);
  if (self.queue.size() > 1) signal_work();
}

void VirtualScheduler::run(Carrier& self) noexcept {
  tls_carrier = &self;
  self.record = &current_record();
  adopt_stack(self.point, self.record->stack_low, self.record->stack_high);
  for (;;) run_one(self, next(self));
}

// The first turn of a thread: it gets its stack. Without one it cannot even fail on its own.
void VirtualScheduler::begin(Carrier& self, VirtualThread& thread) noexcept {
  try {
    thread.stack = acquire_virtual_stack(thread.stack_bytes);
  } catch (const std::exception& error) {
    log::error("virtual_thread.no_stack", {{"thread", thread.name()}, {"what", error.what()}});
    set_current_record(self.record);
    thread.body = nullptr;
    thread.end();
    return;
  }
  thread.stack_low = thread.stack.low;
  thread.stack_high = thread.stack.high;
  thread.started_ns = monotonic_ns();
  make_stack(thread.point, thread.stack.low, thread.stack.high, virtual_entry, &thread);
}

void VirtualScheduler::run_one(Carrier& self, VirtualThread& thread) noexcept {
  if (!thread.stack) {
    const std::shared_ptr<ThreadRecord> keep = thread.shared_from_this();
    begin(self, thread);
    if (!thread.stack) return;
  }
  thread.carrier.store(self.record->id, kRelaxed);
  thread.os_tid.store(self.record->os_tid.load(kRelaxed), kRelaxed);
  self.record->carrying.store(thread.id, kRelaxed);
  set_current_record(&thread);
  switch_stacks(self.point, thread.point);
  set_current_record(self.record);
  self.record->carrying.store(0, kRelaxed);
  thread.os_tid.store(0, kRelaxed);
  thread.carrier.store(0, kRelaxed);

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
      discard_stack(thread.point);
      release_virtual_stack(thread.stack);
      thread.end();
      return;
  }
}

void start_virtual(VirtualThread& thread) { VirtualScheduler::instance().submit(thread); }

void park_virtual(VirtualThread& self, Deadline deadline) noexcept {
  VirtualTimer& timer = current_carrier()->scheduler.timer();
  if (!deadline.is_never()) timer.add(self, deadline);
  leave_carrier(self, VirtualThread::Next::Park);
  if (!deadline.is_never()) timer.remove(self);
  self.permit.exchange(ThreadRecord::kNoPermit, std::memory_order_acquire);
}

void unpark_virtual(VirtualThread& thread) noexcept { VirtualScheduler::instance().submit(thread); }

void yield_virtual(VirtualThread& self) noexcept { leave_carrier(self, VirtualThread::Next::Yield); }

CarrierCompensation::CarrierCompensation(const ThreadRecord& self) : blocked_(self.is_virtual) {
  if (blocked_) current_carrier()->scheduler.carrier_blocks();
}

CarrierCompensation::~CarrierCompensation() {
  if (blocked_) current_carrier()->scheduler.carrier_unblocks();
}

}  // namespace creel::detail
