// What the sanitizers' runtimes ask the program for when it starts; TSAN_OPTIONS and the like still come
// after it.
#include "creel_test/sanitizer.hpp"

#if defined(__SANITIZE_THREAD__)

// die_after_fork: tests fork children that start threads, from processes that have none to speak of.
// detect_deadlocks: off, because tests lock in opposite orders on purpose.
extern "C" const char* __tsan_default_options();
extern "C" const char* __tsan_default_options() {
  return "die_after_fork=0:detect_deadlocks=0:history_size=4";
}

// libstdc++ counts the references of an exception_ptr in code that is not instrumented: the last one to let
// go is not seen to come after the others. Nothing of creel's own is suppressed.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() {
  return "race:^std::__exception_ptr::exception_ptr::_M_release\n"
         "race:^std::runtime_error::~runtime_error\n"
         "race:^std::exception::~exception\n";
}

#endif
