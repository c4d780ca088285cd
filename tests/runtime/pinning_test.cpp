#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"
#include "creel_test/temporary_folder.hpp"
#include "management/perf_data.hpp"
#include "virtual_scheduler.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/pinning.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

using namespace std::chrono_literals;
using creel::PinnedThread;
using creel::Thread;
using creel_test::eventually;

namespace {

// What foreign code waits for: a read of a pipe that nobody writes to until release().
class ForeignWait {
 public:
  ForeignWait() {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    reader_ = creel::UniqueFd(ends[0]);
    writer_ = creel::UniqueFd(ends[1]);
  }
  [[gnu::noinline]] void wait_in_foreign_code() {
    char byte = 0;
    const ssize_t got = ::read(reader_.get(), &byte, 1);
    waited_.fetch_add(got == 0 ? 1 : 1000);  // after the call: it is no tail call, and has a frame
  }
  void release() { writer_.reset(); }  // all reads end, those to come too
  int waited() const { return waited_; }

 private:
  creel::UniqueFd reader_, writer_;
  std::atomic<int> waited_{0};
};

// Collects what the handler is told; takes it away at its end.
class Listener {
 public:
  Listener() {
    creel::set_pinned_handler([this](const PinnedThread& pinned) {
      const std::lock_guard guard{lock_};
      told_.push_back(pinned);
    });
  }
  ~Listener() { creel::set_pinned_handler(nullptr); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  std::vector<PinnedThread> of(const std::string& name) const {
    const std::lock_guard guard{lock_};
    std::vector<PinnedThread> found;
    std::copy_if(told_.begin(), told_.end(), std::back_inserter(found),
                 [&](const PinnedThread& pinned) { return pinned.name == name; });
    return found;
  }
  bool await(const std::string& name) const {
    return eventually([&] { return !of(name).empty(); });
  }

 private:
  mutable std::mutex lock_;
  std::vector<PinnedThread> told_;
};

bool names(const std::vector<const creel::StackFrame*>& stack, std::string_view function) {
  return std::any_of(stack.begin(), stack.end(), [&](const creel::StackFrame* frame) {
    return frame->function.find(function) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("virtual threads that hold all carriers in foreign waits are noticed, and the others go on") {
  const creel::Diagnostics diagnostics{{.name = "pinning"}};
  const std::uint64_t before = creel::pinning_figures().started;
  const auto carriers = creel::detail::VirtualScheduler::instance().counts().parallelism;
  ForeignWait wait;
  std::vector<Thread> holders;
  for (std::uint32_t i = 0; i < 2 * carriers; ++i)
    holders.push_back(Thread::of_virtual().name("holder").start([&] { wait.wait_in_foreign_code(); }));
  // Twice as many as there are carriers wait; one that only counts still gets its turns.
  std::atomic<int> ticks{0};
  const Thread ticking = Thread::of_virtual().start([&] {
    for (int i = 0; i < 10; ++i) {
      Thread::sleep(1ms);
      ++ticks;
    }
  });
  CHECK(ticking.join(60s));
  CHECK(ticks == 10);
  CHECK(eventually([&] { return creel::pinning_figures().pinned == holders.size(); }));
  CHECK(creel::pinning_figures().started - before == holders.size());

  const creel::ThreadDump dump = creel::ThreadDump::take({.sample_running = false});
  const creel::ThreadInfo* info = dump.find(holders.front().id());
  REQUIRE(info != nullptr);
  CHECK(info->pinned_s >= 0.02);
  const std::string mark = "Pinned to carrier #" + std::to_string(info->carrier) + " for ";
  CHECK(dump.to_text().find(mark) != std::string::npos);
  CHECK(dump.to_json().find("\"pinnedSeconds\"") != std::string::npos);
  CHECK(dump.find(Thread::current().id())->pinned_s == -1);

  // As jcmd's PerfCounter.print reads it; the table is brought up to date once a second.
  const creel::UniqueFd folder(
      ::open(creel::detail::perf_folder(::geteuid()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto counter = [&](std::string_view name) -> std::int64_t {
    const auto entries = creel::detail::read_perf_entries(folder.get(), std::to_string(::getpid()));
    const auto found =
        std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.name == name; });
    return found != entries.end() ? found->number.value_or(-2) : -1;
  };
  const auto count = static_cast<std::int64_t>(holders.size());
  CHECK(eventually([&] { return counter("creel.threads.pinned.now") == count; }));
  CHECK(counter("creel.threads.pinned.events") >= count);
  CHECK(counter("creel.threads.pinned.longestMillis") >= 20);

  wait.release();
  for (const Thread& holder : holders) CHECK(holder.join(60s));
  CHECK(wait.waited() == static_cast<int>(holders.size()));
  CHECK(eventually([] { return creel::pinning_figures().pinned == 0; }));
  CHECK(creel::pinning_figures().longest >= 20ms);
  // The carriers that stood in become spare when there is work again.
  CHECK(eventually([&] {
    Thread::of_virtual().start([] {}).join();
    return creel::detail::VirtualScheduler::instance().counts().available <= carriers;
  }));
}

TEST_CASE("the report of a pinned thread names it, its carrier and its stack down to the wait") {
  const Listener listener;
  ForeignWait wait;
  const Thread holder = Thread::of_virtual().name("reader").start([&] { wait.wait_in_foreign_code(); });
  REQUIRE(listener.await("reader"));
  const PinnedThread told = listener.of("reader").front();
  CHECK(told.id == holder.id());
  CHECK(told.carrier.starts_with("carrier-"));
  CHECK(told.so_far >= 20ms);
  CHECK(names(told.stack.frames(), "read"));
  if (!creel_test::kSanitizer) {
    CHECK(names(told.stack.frames(), "wait_in_foreign_code"));
    CHECK(names(told.stack.frames(), "virtual_entry"));
    CHECK_FALSE(told.stack.cut());
  }
  CHECK(listener.of("reader").size() == 1);  // once for each wait
  wait.release();
  CHECK(holder.join(60s));
}

TEST_CASE("neither blocking() nor a wait of creel's own nor a computation pins") {
  const Listener listener;
  ForeignWait foreign, last;
  creel::CountDownLatch latch{1};
  std::atomic<bool> stop{false};
  std::atomic<int> begun{0};
  const std::vector<Thread> others{Thread::of_virtual().name("announced").start([&] {
                                     ++begun;
                                     creel::blocking("a read", [&] { foreign.wait_in_foreign_code(); });
                                   }),
                                   Thread::of_virtual().name("parked").start([&] {
                                     ++begun;
                                     latch.await();
                                   }),
                                   Thread::of_virtual().name("busy").start([&] {
                                     ++begun;
                                     while (!stop) {
                                     }
                                   })};
  CHECK(eventually([&] { return begun == 3; }));
  // Who comes after them and is told of has waited for less time than they have.
  for (const char* name : {"first", "second"}) {
    ForeignWait wait;
    const Thread holder = Thread::of_virtual().name(name).start([&] { wait.wait_in_foreign_code(); });
    CHECK(listener.await(name));
    wait.release();
    CHECK(holder.join(60s));
  }
  for (const char* name : {"announced", "parked", "busy"}) CHECK(listener.of(name).empty());
  stop = true;
  foreign.release();
  latch.count_down();
  for (const Thread& other : others) CHECK(other.join(60s));
}

TEST_CASE("in a PinnedScope a virtual thread waits and goes on with its carrier; others get another one") {
  const auto carriers = creel::detail::VirtualScheduler::instance().counts().parallelism;
  creel::CountDownLatch latch{1};
  std::atomic<std::uint32_t> stayed{0}, parked{0};
  std::vector<Thread> holders;
  for (std::uint32_t i = 0; i < 2 * carriers; ++i) {
    holders.push_back(Thread::of_virtual().start([&] {
      const creel::PinnedScope outer{"a handle of this thread"};
      const pid_t before = ::gettid();
      { const creel::PinnedScope inner{"another"}; }
      CHECK(creel::PinnedScope::is_active());  // the outer one is there still
      ++parked;
      latch.await();
      Thread::yield();
      Thread::sleep(1ms);
      if (::gettid() == before) ++stayed;
    }));
  }
  // More wait than there are carriers: none of these could begin, and nobody could go on, without others.
  CHECK(eventually([&] { return parked == holders.size(); }));
  for (const Thread& holder : holders)
    CHECK(eventually([&] { return holder.state() == creel::ThreadState::Waiting; }));
  CHECK(Thread::of_virtual().start([] { Thread::sleep(1ms); }).join(60s));
  latch.count_down();
  for (const Thread& holder : holders) CHECK(holder.join(60s));
  CHECK(stayed == holders.size());
  CHECK_FALSE(creel::PinnedScope::is_active());
  CHECK(eventually([&] {
    Thread::of_virtual().start([] {}).join();
    return creel::detail::VirtualScheduler::instance().counts().available <= carriers;
  }));
}

TEST_CASE("a pinned wait ends by interrupt, Deadline and unpark") {
  std::atomic<int> ends{0};
  const auto pinned = [](auto body) {
    return Thread::of_virtual().start([body] {
      const creel::PinnedScope scope{"of a test"};
      body();
    });
  };
  creel::CountDownLatch never{1};
  const Thread interrupted = pinned([&] {
    CHECK_THROWS_AS(never.await(), creel::InterruptedError);
    ++ends;
  });
  CHECK(eventually([&] { return interrupted.state() == creel::ThreadState::Waiting; }));
  interrupted.interrupt();
  const Thread timed = pinned([&] {
    CHECK_FALSE(never.await(30ms));
    ++ends;
  });
  std::atomic<bool> go{false};
  const Thread unparked = pinned([&] {
    while (!go) creel::LockSupport::park(creel::Blocker{nullptr, "test"});
    ++ends;
  });
  CHECK(eventually([&] { return unparked.state() == creel::ThreadState::Waiting; }));
  go = true;
  creel::LockSupport::unpark(unparked);
  for (const Thread* each : {&interrupted, &timed, &unparked}) CHECK(each->join(60s));
  CHECK(ends == 3);
}

TEST_CASE("outside of the scope the thread leaves its carrier again") {
  // As many as do not fit on carriers of their own: 600 wait at once, all of which have left a scope.
  creel::CountDownLatch latch{1};
  std::atomic<int> waits{0};
  std::vector<Thread> threads;
  for (int i = 0; i < 600; ++i) {
    threads.push_back(Thread::of_virtual().start([&] {
      { const creel::PinnedScope scope{"over soon"}; }
      ++waits;
      latch.await();
    }));
  }
  CHECK(eventually([&] { return waits == 600; }));
  latch.count_down();
  for (const Thread& thread : threads) CHECK(thread.join(60s));
}

TEST_CASE("reports and dumps name the scope that pins, and the function that waits in it") {
  const Listener listener;
  creel::CountDownLatch latch{1};
  const Thread holder = Thread::of_virtual().name("scoped").start([&] {
    const creel::PinnedScope scope{"a library's thread_local"};
    latch.await();
  });
  REQUIRE(listener.await("scoped"));
  const PinnedThread told = listener.of("scoped").front();
  CHECK(told.reason == "a library's thread_local");
  CHECK(names(told.stack.frames(), "CountDownLatch::await"));
  const creel::ThreadDump dump = creel::ThreadDump::take({.sample_running = false});
  const creel::ThreadInfo* info = dump.find(holder.id());
  REQUIRE(info != nullptr);
  CHECK(info->pinned_by == told.reason);
  CHECK(info->wait.has_value());
  CHECK(info->carrier != 0);
  CHECK(dump.to_text().find("s by a library's thread_local\n") != std::string::npos);
  CHECK(dump.to_json().find("\"pinnedBy\": \"a library's thread_local\"") != std::string::npos);
  latch.count_down();
  CHECK(holder.join(60s));
}

TEST_CASE("a handler that throws is logged, and the next pinned thread is told of") {
  std::atomic<int> calls{0};
  creel::set_pinned_handler([&](const PinnedThread&) {
    ++calls;
    throw creel::Error("of the handler");
  });
  for (int i = 1; i <= 2; ++i) {
    ForeignWait wait;
    const Thread holder = Thread::of_virtual().start([&] { wait.wait_in_foreign_code(); });
    CHECK(eventually([&] { return calls >= i; }));
    wait.release();
    CHECK(holder.join(60s));
    CHECK(eventually([] { return creel::pinning_figures().pinned == 0; }));
  }
  creel::set_pinned_handler(nullptr);
}

TEST_CASE("the log names the place of a pinned wait once") {
  const creel_test::TemporaryFolder folder;
  const std::string path = folder / "stderr";
  const int to_file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(to_file, STDERR_FILENO);
  const Listener listener;
  for (const char* name : {"one", "two", "three"}) {
    ForeignWait wait;
    const Thread holder = Thread::of_virtual().name(name).start([&] {
      // A body like no other: the compiler makes one of those that do the same, and they are one place then.
      wait.wait_in_foreign_code();
      if (wait.waited() == 0) std::abort();
    });
    CHECK(listener.await(name));
    wait.release();
    CHECK(holder.join(60s));
  }
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  ::close(to_file);
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (line.find("virtual_thread.pinned") != std::string::npos) lines.push_back(line);
  }
  std::string all;  // for who reads the failure
  for (const std::string& line : lines) all += line + "\n";
  INFO(all);
  if (creel_test::kSanitizer) return;  // where it waits is one place for all tests, and was told of before
  REQUIRE(lines.size() == 1);
  CHECK(lines.front().find("one") != std::string::npos);
  CHECK(lines.front().find("wait_in_foreign_code") != std::string::npos);
  CHECK(lines.front().find("creel::blocking()") != std::string::npos);
}
