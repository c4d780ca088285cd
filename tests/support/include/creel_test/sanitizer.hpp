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

}  // namespace creel_test
