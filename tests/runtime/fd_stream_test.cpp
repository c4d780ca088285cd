#include "creel_test/eventually.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/fd_stream.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::Pipe;
using creel::Thread;
using creel::ThreadState;
using creel_test::eventually;

namespace {

std::size_t read_one(creel::ByteStream& stream, creel::Deadline deadline = {}) {
  std::array<std::byte, 1> byte;
  return stream.read(byte, deadline);
}

void fill(Pipe& pipe) {
  const std::vector<std::byte> block(65536);
  CHECK_THROWS_AS(for (;;) pipe.sink.write_some(block, creel::Deadline::now()), creel::TimeoutError);
}

}  // namespace

TEST_CASE("a read waits for data, a write for room, on both kinds of threads") {
  for (const bool is_virtual : {false, true}) {
    CAPTURE(is_virtual);
    const auto start = [&](auto body) {
      return (is_virtual ? Thread::of_virtual() : Thread::of_platform()).start(body);
    };
    Pipe pipe = Pipe::open();
    std::string got;
    Thread reader = start([&] { got = pipe.source.read_all_bytes(); });
    REQUIRE(eventually([&] { return reader.state() == ThreadState::Waiting; }));
    const std::string text(300'000, 'x');  // several times what a pipe holds
    Thread writer = start([&] {
      pipe.sink.write_all(text);
      pipe.sink.close();
    });
    CHECK(reader.join(20s));
    CHECK(writer.join(20s));
    CHECK(got == text);
  }
}

TEST_CASE("a deadline ends a wait for data and for room, and the stream can be used on") {
  Pipe pipe = Pipe::open("desk");
  CHECK_THROWS_WITH_AS(read_one(pipe.source, 2ms), "no data from desk before the deadline",
                       creel::TimeoutError);
  fill(pipe);
  CHECK_THROWS_AS(pipe.sink.write_all("x", 2ms), creel::TimeoutError);
  CHECK(read_one(pipe.source) == 1);
}

TEST_CASE("write_all says how much had gone when its time was up") {
  Pipe pipe = Pipe::open();
  try {
    pipe.sink.write_all(std::string(200'000, 'x'), 2ms);
    FAIL("a pipe took 200,000 bytes");
  } catch (const creel::TimeoutError& error) {
    CHECK(std::string(error.what()).find("65536 of 200000 bytes had gone") != std::string::npos);
  }
}

TEST_CASE("interrupt ends a wait, or one that is about to begin, and the stream can be used on") {
  for (const bool is_virtual : {false, true}) {
    CAPTURE(is_virtual);
    Pipe pipe = Pipe::open();
    std::atomic<int> interrupted{0};
    Thread reader = (is_virtual ? Thread::of_virtual() : Thread::of_platform()).start([&] {
      CHECK_THROWS_AS(read_one(pipe.source), creel::InterruptedError);
      CHECK_FALSE(Thread::interrupted());
      ++interrupted;
      Thread::current().interrupt();
      pipe.sink.is_open();
      CHECK_THROWS_AS(read_one(pipe.source), creel::InterruptedError);  // though there is data by then
      CHECK(read_one(pipe.source) == 1);
    });
    REQUIRE(eventually([&] { return reader.state() == ThreadState::Waiting; }));
    reader.interrupt();
    pipe.sink.write_all("x");
    CHECK(reader.join(20s));
    CHECK(interrupted == 1);
  }
}

TEST_CASE("close wakes all who wait, in both directions") {
  Pipe pipe = Pipe::open();
  Pipe full = Pipe::open();
  fill(full);
  std::vector<Thread> threads;
  std::atomic<int> closed{0};
  const auto expect_closed = [&](auto call) {
    try {
      call();
    } catch (const creel::IoError& error) {
      if (error.error_number() == EBADF) ++closed;
    }
  };
  for (int i = 0; i < 8; ++i) {
    const auto kind = i % 2 == 0 ? Thread::of_virtual() : Thread::of_platform();
    threads.push_back(Thread::Builder(kind).start([&] { expect_closed([&] { read_one(pipe.source); }); }));
    threads.push_back(Thread::Builder(kind).start([&] { expect_closed([&] { full.sink.write_all("x"); }); }));
  }
  for (const Thread& thread : threads) {
    REQUIRE(eventually([&] { return thread.state() == ThreadState::Waiting; }));
  }
  pipe.source.close();
  full.sink.close();
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(closed == 16);
  CHECK_FALSE(pipe.source.is_open());
  expect_closed([&] { read_one(pipe.source); });
  CHECK(closed == 17);
}

TEST_CASE("threads that read, write and close at once never meet another file under their number") {
  std::atomic<bool> strange{false};
  for (int round = 0; round < 200; ++round) {
    Pipe pipe = Pipe::open();
    pipe.sink.write_all("x");
    const auto use = [&] {
      try {
        while (read_one(pipe.source, creel::Deadline::now()) == 1) {
        }
      } catch (const creel::TimeoutError&) {
      } catch (const creel::IoError& error) {
        if (error.error_number() != EBADF) strange = true;
      }
    };
    Thread first = Thread::of_virtual().start(use);
    Thread second = Thread::of_virtual().start([&] { pipe.source.close(); });
    Thread third = Thread::of_virtual().start([&] { pipe.source.close(); });
    // A descriptor that takes the number as soon as it is free; a reader of it would steal a byte.
    Pipe other = Pipe::open();
    other.sink.write_all("y");
    first.join();
    second.join();
    third.join();
    if (read_one(other.source, creel::Deadline::now()) != 1) strange = true;
  }
  CHECK_FALSE(strange);
}

TEST_CASE("writing to a pipe that nobody reads is an error, not a signal") {
  static std::atomic<int> signals{0};
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { ++signals; };
  ::sigaction(SIGPIPE, &action, &before);
  Pipe pipe = Pipe::open("nobody's");
  pipe.source.close();
  try {
    pipe.sink.write_all("x");
    FAIL("nothing was thrown");
  } catch (const creel::IoError& error) {
    CHECK(error.error_number() == EPIPE);
    CHECK(std::string(error.what()) == "write: nobody's: Broken pipe");
  }
  CHECK(signals == 0);
  ::raise(SIGPIPE);  // and the signal's own way is as it was
  CHECK(signals == 1);
  ::sigaction(SIGPIPE, &before, nullptr);
}

TEST_CASE("a dump names what a thread waits for") {
  Pipe pipe = Pipe::open("the night desk");
  Thread reader = Thread::of_virtual().name("reader").start([&] { read_one(pipe.source); });
  REQUIRE(eventually([&] { return reader.state() == ThreadState::Waiting; }));
  const std::string text = creel::ThreadDump::take().to_text();
  CHECK(text.find("(a creel::FdStream \"data from the night desk\")") != std::string::npos);
  CHECK(text.find("\"creel-io\"") != std::string::npos);
  pipe.sink.write_all("x");
  reader.join();
}

TEST_CASE("a stream that was moved from is closed") {
  Pipe pipe = Pipe::open();
  creel::FdStream taken = std::move(pipe.sink);
  CHECK_FALSE(pipe.sink.is_open());  // NOLINT(bugprone-use-after-move)
  CHECK_THROWS_AS(pipe.sink.write_all("x"), creel::IoError);
  taken.write_all("x");
  CHECK(read_one(pipe.source) == 1);
  taken = creel::FdStream();
  CHECK(read_one(pipe.source) == 0);
}
