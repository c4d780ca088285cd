#include "creel_test/sanitizer.hpp"
#include "thread_record.hpp"

#include <creel/runtime/monitor.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

using creel::Thread;

TEST_CASE("after fork the child knows itself alone, and can start threads of both kinds") {
  if (!creel_test::kChildMayStartThreads) return;
  std::atomic<bool> stop{false};
  Thread other = Thread::of_platform().start([&] {
    while (!stop) Thread::yield();
  });
  CHECK(Thread::of_virtual().start([] {}).join());
  const std::uint64_t self = Thread::current().id();
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    auto records = creel::detail::ThreadRegistry::instance().snapshot();
    bool right = records.size() == 1 && records[0]->id == self && records[0]->os_tid == ::getpid();
    right = right && creel::detail::ThreadRegistry::instance().counts().live == 1;
    creel::Monitor monitor;
    int ran = 0;
    Thread platform = Thread::of_platform().start([&] { creel::synchronized(monitor, [&] { ++ran; }); });
    Thread virtual_thread = Thread::of_virtual().start([&] { creel::synchronized(monitor, [&] { ++ran; }); });
    right = right && platform.join(std::chrono::seconds(20)) && virtual_thread.join(std::chrono::seconds(20));
    ::_exit(right && ran == 2 ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  stop = true;
  other.join();
}
