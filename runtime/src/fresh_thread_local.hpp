#pragma once

/// Reads and writes a thread_local pointer of the platform thread that the caller runs on at this very
/// moment.
///
/// A virtual thread may come back from any call on another carrier, while compilers take the address of a
/// thread_local for constant in a function and keep it over calls. So C++ code never names these variables:
/// two instructions that the compiler knows nothing of read them, wherever they are inlined. The variable is
/// defined with C linkage and the tls_model initial-exec, so that its offset from the thread pointer is known
/// once the program is loaded; signal handlers may read it as well.
#define CREEL_READ_THREAD_LOCAL(variable, value) \
  asm volatile("movq " #variable "@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(value) : : "memory")

#define CREEL_WRITE_THREAD_LOCAL(variable, value)                               \
  do {                                                                          \
    long offset;                                                                \
    asm volatile("movq " #variable "@gottpoff(%%rip), %0\n\tmovq %1, %%fs:(%0)" \
                 : "=&r"(offset)                                                \
                 : "r"(value)                                                   \
                 : "memory");                                                   \
  } while (false)
