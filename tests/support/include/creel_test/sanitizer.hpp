#pragma once

namespace creel_test {

/// Under ThreadSanitizer tests use fewer virtual threads: g++ 12's runtime has room for 8,128 threads and
/// fibers.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

/// A sanitizer's runtime waits in functions of its own, whose frames the two registers of a system call do
/// not lead beyond; and it makes everything several times slower.
inline constexpr bool kSanitizer = kThreadSanitizer || kAddressSanitizer;

/// Whether the child of a fork() beside busy threads can start threads of its own. ThreadSanitizer still
/// counts the parent's, and ends the child when a new one gets the id of one of those; the AddressSanitizer
/// of g++ 12 does not take its allocator's locks over a fork, so that the child waits for ever for one that
/// another thread held.
inline constexpr bool kChildMayStartThreads = !kThreadSanitizer && !kAddressSanitizer;

}  // namespace creel_test
