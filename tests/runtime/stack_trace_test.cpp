#include "dump_engine.hpp"

#include <creel/runtime/stack_trace.hpp>

#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <signal.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

using creel::StackTrace;

// Named functions outside of any inlining, compiled as a user's release build would be: no frame pointer.
#define CREEL_FRAME [[gnu::noinline, gnu::noclone, gnu::optimize("O2", "omit-frame-pointer")]]

namespace stack_trace_test {

StackTrace seen;

CREEL_FRAME int innermost() {
  seen = StackTrace::current();
  asm volatile("" ::: "memory");
  return 1;
}
CREEL_FRAME int many_registers(int a, int b, int c) {
  // Values kept across the call make the compiler save registers, which the walk has to find again.
  int kept = a * 3 + b, other = b * 5 + c, third = a ^ c;
  asm volatile("" : "+r"(kept), "+r"(other), "+r"(third));
  const int result = innermost();
  asm volatile("" : "+r"(kept), "+r"(other), "+r"(third));
  return result + kept + other + third;
}
CREEL_FRAME int large_frame() {
  std::array<int, 5000> room;
  room.fill(1);
  asm volatile("" ::"r"(room.data()) : "memory");
  const int result = many_registers(room[0], room[1], 3);
  asm volatile("" ::"r"(room.data()) : "memory");
  return result + room[7];
}
CREEL_FRAME int dynamic_frame(std::size_t size) {
  auto* room =
      static_cast<char*>(__builtin_alloca(size));  // the one kind that needs a frame pointer by itself
  asm volatile("" ::"r"(room) : "memory");
  const int result = large_frame();
  asm volatile("" ::"r"(room) : "memory");
  return result;
}

struct Shape {
  virtual ~Shape() = default;
  virtual int draw() = 0;
};
struct Circle : Shape {
  CREEL_FRAME int draw() override {
    const int result = dynamic_frame(777);
    asm volatile("" ::: "memory");
    return result;
  }
};

CREEL_FRAME int compare(const void* a, const void* b) {
  if (seen.empty()) innermost();
  asm volatile("" ::: "memory");
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

CREEL_FRAME void on_signal(int) {
  innermost();
  asm volatile("" ::: "memory");
}
CREEL_FRAME void raise_here() {
  ::raise(SIGUSR2);
  asm volatile("" ::: "memory");
}

std::vector<std::string> names(const StackTrace& trace) {
  std::vector<std::string> all;
  for (const creel::StackFrame* frame : trace.frames()) all.push_back(frame->function);
  return all;
}

// Whether the functions stand in the trace in that order, whatever is between.
bool in_order(const StackTrace& trace, const std::vector<std::string>& wanted) {
  std::size_t next = 0;
  for (const std::string& name : names(trace)) {
    if (next < wanted.size() && name.ends_with(wanted[next]))
      ++next;  // a sanitizer's is __interceptor_qsort_r
  }
  return next == wanted.size();
}

bool reaches_start(const StackTrace& trace) {
  const std::vector<std::string> all = names(trace);
  return !trace.cut() && std::find(all.begin(), all.end(), "main") != all.end();
}

}  // namespace stack_trace_test

using namespace stack_trace_test;

TEST_CASE("a stack trace crosses frames without frame pointers, large, dynamic and virtual ones") {
  Circle circle;
  Shape* shape = &circle;
  asm volatile("" : "+r"(shape));
  shape->draw();
  CAPTURE(seen.to_string());
  CHECK(in_order(seen, {"innermost", "many_registers", "large_frame", "dynamic_frame", "Circle::draw"}));
  CHECK(reaches_start(seen));
}

TEST_CASE("a stack trace crosses a callback from the C library") {
  seen = {};
  std::vector<int> numbers{5, 3, 1, 2, 4, 9, 7, 8};
  ::qsort(numbers.data(), numbers.size(), sizeof(int), &compare);
  CAPTURE(seen.to_string());
  CHECK(in_order(seen, {"innermost", "compare", "qsort_r"}));
  CHECK(reaches_start(seen));
}

TEST_CASE("a stack trace crosses a signal frame") {
  if (creel_test::kThreadSanitizer) return;  // its runtime calls handlers later, from a place of its own
  seen = {};
  struct sigaction action {
  }, before{};
  action.sa_handler = &on_signal;
  REQUIRE(::sigaction(SIGUSR2, &action, &before) == 0);
  raise_here();
  ::sigaction(SIGUSR2, &before, nullptr);
  CAPTURE(seen.to_string());
  CHECK(in_order(seen, {"innermost", "on_signal", "raise_here"}));
  CHECK(reaches_start(seen));
}

TEST_CASE("frames name their file and line, and skip leaves out the innermost") {
  const int line = __LINE__ + 1;
  const StackTrace trace = StackTrace::current();
  REQUIRE(!trace.empty());
  const creel::StackFrame& frame = *trace.frames().front();
  CHECK(frame.file.ends_with("stack_trace_test.cpp"));
  CHECK(frame.line == line);
  CHECK(frame.text.ends_with("(stack_trace_test.cpp:" + std::to_string(line) + ")"));
  CHECK(StackTrace::current(1).frames().front() == trace.frames()[1]);
}

TEST_CASE("a foreign thread's stack trace ends with the thread's first function") {
  std::thread([] { innermost(); }).join();
  CAPTURE(seen.to_string());
  CHECK(in_order(seen, {"innermost"}));
  CHECK(!seen.cut());
  CHECK(seen.frames().size() >= 4);
}

TEST_CASE("garbage in registers and on the stack ends a walk, and nothing else") {
  creel::detail::DumpEngine& engine = creel::detail::DumpEngine::instance();
  const std::lock_guard guard{engine.lock};
  engine.refresh();
  std::mt19937_64 random(20261123);
  std::vector<std::byte> bytes(4096);
  const auto here = reinterpret_cast<std::uint64_t>(&innermost);
  for (int round = 0; round < 20'000; ++round) {
    const std::uint64_t low = 0x7000'0000'0000 + random() % 4096 * 8;
    for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
      // Code addresses and pointers into the piece itself lead further astray than noise does.
      std::uint64_t word = random();
      if (word % 3 == 0) word = here + word % 40'000;
      if (word % 3 == 1) word = low + word % 5000;
      std::memcpy(bytes.data() + i, &word, 8);
    }
    creel::detail::WalkRegisters registers;
    for (unsigned i = 0; i < creel::detail::WalkRegisters::kCount; ++i)
      registers.set(i, low + random() % 5000);
    registers.set(creel::detail::WalkRegisters::kRip, here + random() % 40'000);
    std::vector<creel::detail::RawFrame> frames;
    engine.unwinder.walk(registers, creel::detail::Unwinder::Innermost::Interrupted,
                         {low, bytes.data(), bytes.size()}, frames);
    REQUIRE(!frames.empty());
    REQUIRE(frames.size() <= creel::detail::Unwinder::kMaxDepth);
  }
}
