#include "io_loop.hpp"

#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/fd_stream.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unix_socket.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <vector>

using namespace std::chrono_literals;
using creel::Pipe;
using creel::Thread;
using creel::ThreadState;
using creel::UnixSocket;
using creel_test::eventually;

TEST_CASE("10,000 virtual threads blocked in reads, while a ticking one misses no second") {
  rlimit files{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &files) == 0);
  const rlimit before = files;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const std::size_t room = static_cast<std::size_t>(files.rlim_cur);
  const std::size_t count =
      creel_test::kThreadSanitizer ? 500 : std::min<std::size_t>(10'000, (room - 200) / 2);
  struct Ends {
    UnixSocket near;
    UnixSocket far;
  };
  std::vector<Ends> sockets;
  for (std::size_t i = 0; i < count; ++i) {
    auto [near, far] = UnixSocket::pair();
    sockets.push_back({std::move(near), std::move(far)});
  }
  std::atomic<std::size_t> echoed{0};
  std::vector<Thread> threads;
  for (Ends& ends : sockets) {
    threads.push_back(Thread::of_virtual().start([&] {
      ends.far.transfer_to(ends.far);
      ++echoed;
    }));
  }
  std::atomic<bool> stop{false};
  std::atomic<std::int64_t> longest_ns{0};
  Thread ticking = Thread::of_virtual().name("ticking").start([&] {
    while (!stop) {
      const auto begin = std::chrono::steady_clock::now();
      Thread::sleep(10ms);
      const std::int64_t took = (std::chrono::steady_clock::now() - begin).count();
      longest_ns = std::max(longest_ns.load(), took);
    }
  });
  REQUIRE(eventually(
      [&] {
        return std::all_of(threads.begin(), threads.end(),
                           [](const Thread& thread) { return thread.state() == ThreadState::Waiting; });
      },
      60s));
  for (int round = 0; round < 3; ++round) {
    for (Ends& ends : sockets) ends.near.write_all("x");
    std::array<std::byte, 1> byte;
    for (Ends& ends : sockets) REQUIRE(ends.near.read(byte, 60s) == 1);
  }
  for (Ends& ends : sockets) ends.near.close();
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  stop = true;
  ticking.join();
  CHECK(echoed == count);
  CHECK(longest_ns < 1'000'000'000);
  sockets.clear();
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("after fork the child waits with a loop of its own, the parent's goes on") {
  if (!creel_test::kChildMayStartThreads) return;
  Pipe pipe = Pipe::open();
  Pipe answers = Pipe::open();
  Thread reader = Thread::of_virtual().start([&] {
    std::array<std::byte, 1> byte;
    CHECK(pipe.source.read(byte) == 1);
  });
  REQUIRE(eventually([&] { return reader.state() == ThreadState::Waiting; }));
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    Pipe own = Pipe::open();
    std::string got;
    Thread waits = Thread::of_virtual().start([&] { got = own.source.read_all_bytes(); });
    const bool waited = eventually([&] { return waits.state() == ThreadState::Waiting; });
    own.sink.write_all("own");
    own.sink.close();
    // One that the parent's loop knows, too.
    std::array<std::byte, 1> byte;
    const bool joined = waits.join(20s) && answers.source.read(byte, 20s) == 1;
    ::_exit(waited && joined && got == "own" ? 0 : 1);
  }
  answers.sink.write_all("x");
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  pipe.sink.write_all("x");
  CHECK(reader.join(20s));
}

TEST_CASE("a callback is called until it says that it is done, then its descriptor is closed") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  creel::UniqueFd sink(ends[1]);
  creel::CountDownLatch seen{2};
  std::atomic<bool> done{false};
  creel::detail::IoLoop::instance().watch_until_done(creel::UniqueFd(ends[0]), [&, fd = ends[0]] {
    char byte = 0;
    while (::read(fd, &byte, 1) == 1) {
      seen.count_down();
      if (byte == 'z') done = true;
    }
    return done.load();
  });
  REQUIRE(::write(sink.get(), "a", 1) == 1);
  REQUIRE(eventually([&] { return seen.count() == 1; }));
  REQUIRE(::write(sink.get(), "z", 1) == 1);
  CHECK(seen.await(20s));
  CHECK(eventually([&] { return ::fcntl(ends[0], F_GETFD) < 0; }));
}

TEST_CASE("what the kernel cannot watch is refused") {
  creel::UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  CHECK_THROWS_AS(creel::detail::IoLoop::instance().watch_until_done(std::move(file), [] { return true; }),
                  creel::IoError);
}
