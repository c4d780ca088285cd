#include "context_switch.hpp"

#include <boost/context/detail/fcontext.hpp>
#include <cxxabi.h>

#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace creel::detail {
namespace {

namespace fc = boost::context::detail;

// The layout that the Itanium C++ ABI gives it (section 2.2.2).
struct ExceptionGlobals {
  void* caught;
  unsigned uncaught;
};

// Out of line, and opaque: the compiler takes __cxa_get_globals() for a constant (it is declared so), which
// it is not across a switch.
[[gnu::noinline]] ExceptionGlobals& exception_globals() noexcept {
  asm volatile("" ::: "memory");
  return *reinterpret_cast<ExceptionGlobals*>(abi::__cxa_get_globals());
}

void before_switch(SwitchPoint& from, SwitchPoint& to, [[maybe_unused]] bool last) noexcept {
  const ExceptionGlobals& globals = exception_globals();
  from.caught_exceptions = globals.caught;
  from.uncaught_exceptions = globals.uncaught;
  from.target = &to;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &from.asan_fake_stack,
                                 reinterpret_cast<void*>(to.stack_low), to.stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
}

void after_switch(SwitchPoint& arrived) noexcept {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(arrived.asan_fake_stack, nullptr, nullptr);
#endif
  ExceptionGlobals& globals = exception_globals();
  globals.caught = arrived.caught_exceptions;
  globals.uncaught = arrived.uncaught_exceptions;
}

void enter_stack(fc::transfer_t transfer) {
  SwitchPoint& from = *static_cast<SwitchPoint*>(transfer.data);
  from.context = transfer.fctx;
  SwitchPoint& self = *from.target;
  after_switch(self);
  self.entry(self.argument);
  std::abort();  // entry never returns
}

}  // namespace

void adopt_stack(SwitchPoint& point, std::uintptr_t low, std::uintptr_t high) noexcept {
  point.stack_low = low;
  point.stack_size = high - low;
#if defined(__SANITIZE_THREAD__)
  point.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void make_stack(SwitchPoint& point, std::uintptr_t low, std::uintptr_t high, void (*entry)(void*),
                void* argument) noexcept {
  point = SwitchPoint{};
  point.entry = entry;
  point.argument = argument;
  point.stack_low = low;
  point.stack_size = high - low;
  point.context = fc::make_fcontext(reinterpret_cast<void*>(high), high - low, enter_stack);
#if defined(__SANITIZE_THREAD__)
  point.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void switch_stacks(SwitchPoint& from, SwitchPoint& to) noexcept {
  before_switch(from, to, false);
  const fc::transfer_t transfer = fc::jump_fcontext(to.context, &from);
  static_cast<SwitchPoint*>(transfer.data)->context = transfer.fctx;
  after_switch(from);
}

void leave_for_ever(SwitchPoint& from, SwitchPoint& to) noexcept {
  before_switch(from, to, true);
  fc::jump_fcontext(to.context, &from);
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
