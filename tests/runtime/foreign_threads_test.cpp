// Threads that wait in the kernel for something of others, and how they are read there.
#include "foreign_threads.hpp"

#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadDump;
using creel_test::eventually;

namespace {

// Waits of other libraries that a signal would end with EINTR; false if something did.
[[gnu::noinline]] bool foreign_poll(int fd) {
  pollfd wanted{fd, POLLIN, 0};
  return ::poll(&wanted, 1, 60'000) == 1;
}
[[gnu::noinline]] bool foreign_select(int fd) {
  fd_set wanted;
  FD_ZERO(&wanted);
  FD_SET(fd, &wanted);
  timeval patience{60, 0};
  return ::select(fd + 1, &wanted, nullptr, nullptr, &patience) == 1;
}
[[gnu::noinline]] bool foreign_epoll(int fd) {
  const int loop = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {}};
  ::epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
  const bool came = ::epoll_wait(loop, &event, 1, 60'000) == 1;
  ::close(loop);
  return came;
}
[[gnu::noinline]] bool foreign_sleep(int) {
  constexpr timespec kWhile{0, 400'000'000};
  return ::nanosleep(&kWhile, nullptr) == 0;
}

}  // namespace

TEST_CASE("a dump does not end the system calls of those whom it reads") {
  const creel::Diagnostics diagnostics{{.attach = false, .perf_data = false, .sigquit = false}};
  const std::array waits{&foreign_poll, &foreign_select, &foreign_epoll, &foreign_sleep};
  const std::array names{"foreign_poll", "foreign_select", "foreign_epoll", "foreign_sleep"};
  for (std::size_t i = 0; i < waits.size(); ++i) {
    for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
      std::array<int, 2> ends{};
      REQUIRE(::pipe(ends.data()) == 0);
      std::atomic<bool> whole{false};
      std::atomic<pid_t> tid{0};
      const Thread thread = builder.name(names[i]).start([&] {
        tid = ::gettid();
        whole = waits[i](ends[0]);
      });
      CHECK(eventually([&] {
        return tid != 0 && creel::detail::ends_early_by_signal(creel::detail::read_blocked_call(tid));
      }));
      const ThreadDump dump = ThreadDump::take();
      REQUIRE(dump.find(thread.id()) != nullptr);
      if (!creel_test::kSanitizer) {
        CHECK_MESSAGE(
            std::any_of(dump.find(thread.id())->stack.begin(), dump.find(thread.id())->stack.end(),
                        [&](const creel::StackFrame* frame) { return frame->function.ends_with(names[i]); }),
            names[i]);
      }
      REQUIRE(::write(ends[1], "x", 1) == 1);
      CHECK(thread.join(60s));
      CHECK_MESSAGE(whole, names[i]);
      for (const int end : ends) ::close(end);
    }
  }
}
