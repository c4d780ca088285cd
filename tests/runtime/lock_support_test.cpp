#include "creel_test/await_state.hpp"
#include "creel_test/both_kinds.hpp"
#include "creel_test/eventually.hpp"
#include "virtual_scheduler.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <doctest/doctest.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadState;

namespace {

/// What blocks a thread of the operating system until somebody writes, or closes the other end.
class Pipe {
 public:
  Pipe() {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    read_.reset(ends[0]);
    write_.reset(ends[1]);
  }
  /// How many bytes it got: 1, or 0 after close().
  ssize_t read() const {
    char byte = 0;
    ssize_t got = 0;
    while ((got = ::read(read_.get(), &byte, 1)) < 0 && errno == EINTR) {
    }
    return got;
  }
  void write() const { REQUIRE(::write(write_.get(), "x", 1) == 1); }
  void close() { write_.reset(); }

 private:
  creel::UniqueFd read_, write_;
};

std::string section_of(const std::string& text, const std::string& name) {
  const std::size_t begin = text.find("\"" + name + "\"");
  return begin == std::string::npos ? std::string() : text.substr(begin, text.find("\n\n", begin) - begin);
}

}  // namespace

TEST_CASE("blocking(): however many virtual threads are in foreign calls, all processors run the others") {
  auto& scheduler = creel::detail::VirtualScheduler::instance();
  const std::uint32_t parallelism = scheduler.counts().parallelism;
  Pipe pipe;
  std::vector<Thread> blocked;
  for (std::uint32_t i = 0; i < parallelism + 6; ++i) {
    blocked.push_back(
        Thread::of_virtual().start([&] { creel::blocking("read of a pipe", [&] { pipe.read(); }); }));
  }
  for (const Thread& thread : blocked) creel_test::await_state(thread, ThreadState::Waiting);
  CHECK(scheduler.counts().available >= parallelism);

  // Each holds on to its carrier until all are there.
  std::atomic<std::uint32_t> arrived{0};
  std::vector<Thread> crowd;
  const creel::Deadline limit = 30s;
  for (std::uint32_t i = 0; i < parallelism; ++i) {
    crowd.push_back(Thread::of_virtual().start([&] {
      ++arrived;
      while (arrived < parallelism && !limit.expired()) ::sched_yield();
    }));
  }
  for (const Thread& thread : crowd) CHECK(thread.join(60s));
  CHECK_FALSE(limit.expired());

  pipe.close();
  for (const Thread& thread : blocked) CHECK(thread.join(60s));
  // The carriers that stood in retire.
  CHECK(creel_test::eventually([&] { return scheduler.counts().available == parallelism; }));
}

TEST_CASE("blocking(): a thread that was woken just before runs meanwhile") {
  creel::CountDownLatch latch(1);
  std::atomic<bool> ran{false};
  Thread woken = Thread::of_virtual().start([&] {
    latch.await();
    ran = true;
  });
  creel_test::await_state(woken, ThreadState::Waiting);
  Thread waker = Thread::of_virtual().start([&] {
    latch.count_down();
    creel::blocking("a call that ends when the other one has run", [&] {
      for (const creel::Deadline limit = 30s; !ran && !limit.expired();) ::sched_yield();
      CHECK(ran);
    });
  });
  CHECK(waker.join(60s));
  CHECK(woken.join(60s));
}

TEST_CASE("blocking(): interrupt() does not end the call; its flag stays for the next wait") {
  creel_test::on_both_kinds([] {
    Pipe pipe;
    ssize_t got = -1;
    bool flag = false;
    bool thrown = false;
    const auto body = [&] {
      got = creel::blocking("read of a pipe", [&] { return pipe.read(); });
      flag = Thread::current().is_interrupted();
      try {
        Thread::sleep(60s);
      } catch (const creel::InterruptedError&) {
        thrown = true;
      }
    };
    Thread::Builder builder = Thread::current().is_virtual() ? Thread::of_virtual() : Thread::of_platform();
    Thread thread = builder.start(body);
    creel_test::await_state(thread, ThreadState::Waiting);
    thread.interrupt();
    CHECK(thread.state() == ThreadState::Waiting);
    pipe.write();
    CHECK(thread.join(30s));
    CHECK(got == 1);
    CHECK(flag);
    CHECK(thrown);
  });
}

TEST_CASE("blocking(): every form of dump names the call") {
  Pipe pipe;
  const auto read = [&] { creel::blocking("read of a slow file", [&] { pipe.read(); }); };
  Thread platform = Thread::of_platform().name("blocked-platform").start(read);
  Thread on_carrier = Thread::of_virtual().name("blocked-virtual").start(read);
  for (const Thread& thread : {platform, on_carrier}) {
    creel_test::await_state(thread, ThreadState::Waiting);
    const auto dump = creel::ThreadDump::take();
    const std::string text = section_of(dump.to_text(), thread.name());
    CAPTURE(text);
    CHECK(text.find("java.lang.Thread.State: WAITING (in blocking call)") != std::string::npos);
    CHECK(text.find("- blocked in call \"read of a slow file\"") != std::string::npos);
    const std::string plain = section_of(dump.to_plain(), thread.name());
    CAPTURE(plain);
    CHECK(plain.find(" WAITING ") != std::string::npos);
    CHECK(plain.find("- blocked in call \"read of a slow file\"") != std::string::npos);
    const std::string json = section_of(dump.to_json(), thread.name());
    CHECK(json.find("\"state\": \"WAITING\"") != std::string::npos);
    CHECK(json.find("\"name\": \"read of a slow file\"") != std::string::npos);
  }
  pipe.close();
  CHECK(platform.join(30s));
  CHECK(on_carrier.join(30s));
}
