#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstddef>
#include <string>

using creel::CountDownLatch;
using creel::StackFigures;
using creel::Thread;
using creel::ThreadDump;
using creel::ThreadState;
using creel_test::eventually;

namespace {

const auto kPage = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

template <std::size_t Bytes>
[[gnu::noinline]] void touch() {
  char frame[Bytes];
  for (std::size_t at = 0; at < Bytes; at += 1024) frame[at] = 1;
  asm volatile("" : : "r"(frame) : "memory");
}

// The figures of a thread that `before_parking` has run on, while it is parked.
template <typename Body>
StackFigures figures_of(Thread::Builder builder, Body before_parking) {
  CountDownLatch release{1};
  const Thread thread = builder.start([&] {
    before_parking();
    release.await();
  });
  REQUIRE(eventually([&] { return thread.state() == ThreadState::Waiting; }));
  const ThreadDump dump = ThreadDump::take({.sample_running = false, .stack_figures = true});
  const creel::ThreadInfo* const info = dump.find(thread.id());
  REQUIRE(info != nullptr);
  REQUIRE(info->stack_figures);
  const StackFigures figures = *info->stack_figures;
  release.count_down();
  thread.join();
  return figures;
}

}  // namespace

TEST_CASE("the stack of a platform thread: what is reserved, in memory, was ever used, and guards it") {
  constexpr std::size_t kReserved = 4 * 1024 * 1024, kUsed = 1024 * 1024;
  const auto builder = [] { return Thread::of_platform().stack_size(kReserved); };
  const StackFigures shallow = figures_of(builder(), [] {});
  CHECK(shallow.reserved > kReserved / 2);  // or more: glibc may give it a larger one that it kept
  CHECK(shallow.committed > 0);
  CHECK(shallow.committed < kUsed);
  CHECK(shallow.high_water >= shallow.committed);
  CHECK(shallow.guard >= kPage);
  const StackFigures deep = figures_of(builder(), [] { touch<kUsed>(); });
  CHECK(deep.high_water >= kUsed);
  CHECK(deep.committed >= kUsed);
  CHECK(deep.committed <= deep.reserved);
}

TEST_CASE("the stack of a virtual thread is its own") {
  constexpr std::size_t kReserved = 192 * 1024;  // a size that no other test's threads have used
  const auto builder = [] { return Thread::of_virtual().stack_size(kReserved); };
  const StackFigures shallow = figures_of(builder(), [] {});
  CHECK(shallow.reserved == kReserved);
  CHECK(shallow.committed >= kPage);
  CHECK(shallow.committed <= kReserved / 2);
  CHECK((shallow.guard == 0 || shallow.guard >= kPage));  // only the first thousands have one
  const StackFigures deep = figures_of(builder(), [] { touch<kReserved / 2>(); });
  CHECK(deep.high_water > kReserved / 2);
}

TEST_CASE("a dump shows the figures of stacks when it is extended") {
  CountDownLatch release{1};
  const Thread thread = Thread::of_platform().name("measured").start([&] { release.await(); });
  REQUIRE(eventually([&] { return thread.state() == ThreadState::Waiting; }));
  const ThreadDump dump = ThreadDump::take({.sample_running = false, .stack_figures = true});
  const std::string line = " committed, high-water mark ";
  CHECK(dump.to_text({.extended = true}).find(line) != std::string::npos);
  CHECK(dump.to_text().find(line) == std::string::npos);
  CHECK(dump.to_json().find("\"highWater\"") != std::string::npos);
  CHECK_FALSE(ThreadDump::take({.sample_running = false}).find(thread.id())->stack_figures);
  release.count_down();
  thread.join();
}
