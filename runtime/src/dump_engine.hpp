#pragma once

#include "foreign_threads.hpp"
#include "symbolizer.hpp"
#include "thread_sampler.hpp"
#include "unwinder.hpp"

#include <mutex>

namespace creel::detail {

/// The one unwinder, symbolizer and sampler of the process, and the lock that guards them. What they learn
/// about code is kept from dump to dump.
struct DumpEngine {
  std::mutex lock;  // a plain mutex: below everything that could be dumped
  Unwinder unwinder;
  Symbolizer symbolizer;
  ThreadSampler sampler;
  ForeignThreads foreign;

  static DumpEngine& instance() noexcept;

  /// Follows dlopen and dlclose; before a batch of walks.
  void refresh();
};

/// This very place, for a walk of the calling function's own stack, which must stay as it is until the walk
/// is over.
[[gnu::always_inline, gnu::artificial]] inline WalkRegisters capture_registers() noexcept {
  std::uint64_t rip, rsp, rbp, rbx, r12, r13, r14, r15;
  asm volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2" : "=&r"(rip), "=&r"(rsp), "=&r"(rbp));
  asm volatile("movq %%rbx, %0\n\tmovq %%r12, %1" : "=&m"(rbx), "=&m"(r12));
  asm volatile("movq %%r13, %0\n\tmovq %%r14, %1\n\tmovq %%r15, %2" : "=&m"(r13), "=&m"(r14), "=&m"(r15));
  WalkRegisters registers;
  registers.set(WalkRegisters::kRip, rip);
  registers.set(WalkRegisters::kRsp, rsp);
  registers.set(WalkRegisters::kRbp, rbp);
  registers.set(WalkRegisters::kRbx, rbx);
  registers.set(WalkRegisters::kR12, r12);
  registers.set(WalkRegisters::kR13, r13);
  registers.set(WalkRegisters::kR14, r14);
  registers.set(WalkRegisters::kR15, r15);
  return registers;
}

}  // namespace creel::detail
