#include <creel/runtime/monitor.hpp>
#include <creel/runtime/stack_trace.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using creel::StackTrace;

// This file is compiled with -g, as a user's program is: with what encloses a function in its debug
// information.
namespace symbolizer_test {

StackTrace seen;

[[gnu::noinline]] void look() {
  seen = StackTrace::current();
  asm volatile("" ::: "memory");
}

template <typename Body>
[[gnu::always_inline]] inline void around(Body body) {
  body();
  asm volatile("" ::: "memory");
}

struct Desk {
  template <typename Body>
  [[gnu::always_inline]] void serve(Body body) {
    around(body);
    asm volatile("" ::: "memory");
  }
};

namespace {
[[gnu::noinline]] void open() {
  Desk desk;
  desk.serve([]() __attribute__((always_inline)) {
    look();
    asm volatile("" ::: "memory");
  });
  asm volatile("" ::: "memory");
}
}  // namespace

struct _Reserved {
  template <typename Body>
  [[gnu::always_inline]] void operator()(Body body) {
    body();
    asm volatile("" ::: "memory");
  }
};

[[gnu::noinline]] void through_plumbing() {
  _Reserved()([]() __attribute__((always_inline)) {
    look();
    asm volatile("" ::: "memory");
  });
  asm volatile("" ::: "memory");
}

std::vector<std::string> functions() {
  std::vector<std::string> names;
  for (const auto* frame : seen.frames()) names.push_back(frame->function);
  return names;
}

std::size_t place_of(const std::vector<std::string>& names, const std::string& name) {
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

}  // namespace symbolizer_test

using namespace symbolizer_test;

TEST_CASE("an inlined function is named with what encloses it: namespace, class, the function of a lambda") {
  open();
  const std::vector<std::string> names = functions();
  const std::size_t first = place_of(names, "symbolizer_test::look");
  REQUIRE(first + 4 < names.size());
  CHECK(names[first + 1] == "symbolizer_test::{anonymous}::open::{lambda}");
  CHECK(names[first + 2] == "symbolizer_test::around<...>");
  CHECK(names[first + 3] == "symbolizer_test::Desk::serve<...>");
  CHECK(names[first + 4] == "symbolizer_test::{anonymous}::open");
}

TEST_CASE("inlined functions with names of the implementation's are no frames") {
  through_plumbing();
  const std::vector<std::string> names = functions();
  const std::size_t first = place_of(names, "symbolizer_test::look");
  REQUIRE(first + 2 < names.size());
  CHECK(names[first + 1] == "symbolizer_test::through_plumbing::{lambda}");
  CHECK(names[first + 2] == "symbolizer_test::through_plumbing");
}
