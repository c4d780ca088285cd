#include "context_switch.hpp"

#include <cxxabi.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

extern "C" void creel_switch_stacks(void** from, void* to) noexcept;
extern "C" void creel_new_stack() noexcept;

namespace creel::detail {
namespace {

// A stack on which creel_switch_stacks() seems to have been called by creel_new_stack(); see there.
struct NewStack {
  std::uint32_t sse_control, x87_control;
  std::array<std::uint64_t, 2> r15_r14;
  std::uint64_t r13_argument, r12_function;
  std::array<std::uint64_t, 2> rbx_rbp;
  void (*return_address)();
  std::array<std::uint64_t, 2> end;  // of zeros; aligned as at a call
};
static_assert(sizeof(NewStack) % 16 == 0);

void before_switch([[maybe_unused]] SwitchPoint& from, [[maybe_unused]] SwitchPoint& to,
                   [[maybe_unused]] bool last) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &from.asan_fake_stack,
                                 reinterpret_cast<void*>(to.stack_low), to.stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
}

void after_switch([[maybe_unused]] SwitchPoint& arrived) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(arrived.asan_fake_stack, nullptr, nullptr);
#endif
}

void run_entry(void* entry) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  reinterpret_cast<void (*)()>(entry)();
  std::abort();  // entry never returns
}

}  // namespace

// __cxa_get_globals() is declared to be constant, which holds for one platform thread only: so ask once for
// each.
ExceptionState& exception_state() noexcept {
  return *reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
}

void adopt_stack([[maybe_unused]] SwitchPoint& point, [[maybe_unused]] std::uintptr_t low,
                 [[maybe_unused]] std::uintptr_t high) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  point.stack_low = low;
  point.stack_size = high - low;
#endif
#if defined(__SANITIZE_THREAD__)
  point.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void make_stack(SwitchPoint& point, [[maybe_unused]] std::uintptr_t low, std::uintptr_t high,
                void (*entry)()) noexcept {
  point = SwitchPoint{};
  const auto top = (high & ~std::uintptr_t{15}) - sizeof(NewStack);
  auto* stack = ::new (reinterpret_cast<void*>(top)) NewStack{};
  asm volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(stack->sse_control), "=m"(stack->x87_control));
  stack->r12_function = reinterpret_cast<std::uintptr_t>(&run_entry);
  stack->r13_argument = reinterpret_cast<std::uintptr_t>(entry);
  stack->return_address = &creel_new_stack;
  point.context = stack;
#if defined(__SANITIZE_ADDRESS__)
  point.stack_low = low;
  point.stack_size = high - low;
#endif
#if defined(__SANITIZE_THREAD__)
  point.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void switch_stacks(SwitchPoint& from, SwitchPoint& to) noexcept {
  before_switch(from, to, false);
  creel_switch_stacks(&from.context, to.context);
  after_switch(from);
}

void leave_for_ever(SwitchPoint& from, SwitchPoint& to) noexcept {
  before_switch(from, to, true);
  creel_switch_stacks(&from.context, to.context);
  std::abort();  // nobody comes back
}

void discard_stack([[maybe_unused]] SwitchPoint& point) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  // The frames that were left for ever never cleaned their redzones.
  __asan_unpoison_memory_region(reinterpret_cast<void*>(point.stack_low), point.stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(point.tsan_fiber);
#endif
}

}  // namespace creel::detail
