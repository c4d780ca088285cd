// Runs over a stack: of a platform thread, a virtual one, the main thread, or none (a bad access).
//   creel_stack_overflow_target platform|virtual|main|wild|handled

#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/thread.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

namespace {

// Uses its frame after the call, so that it cannot become a loop.
[[gnu::noinline]] int descend(int depth) {
  if (depth < 0) return 0;  // never: the compiler cannot know
  volatile char frame[512];
  frame[0] = static_cast<char>(depth);
  return descend(depth + 1) + frame[0];
}

[[gnu::noinline]] int read_nowhere() {
  const auto* volatile nowhere = reinterpret_cast<const int*>(64);
  return *nowhere;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (what == "handled") {
    struct sigaction action {};
    action.sa_handler = [](int) { ::_exit(42); };
    ::sigaction(SIGSEGV, &action, nullptr);
  }
  const creel::Diagnostics diagnostics{{.attach = false, .perf_data = false}};
  volatile int result = 0;
  if (what == "platform") {
    creel::Thread::of_platform()
        .name("digger")
        .stack_size(256 * 1024)
        .start([&] { result = descend(0); })
        .join();
  } else if (what == "virtual") {
    creel::Thread::of_virtual().name("diver").start([&] { result = descend(0); }).join();
  } else if (what == "main") {
    result = descend(0);
  } else if (what == "wild" || what == "handled") {
    result = read_nowhere();
  }
  return result;
}
