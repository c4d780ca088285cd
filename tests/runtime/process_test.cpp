#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/process.hpp>
#include <creel/runtime/process_builder.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::ExitStatus;
using creel::Process;
using creel::ProcessBuilder;
using creel::Redirect;
using creel::Thread;
using creel::ThreadState;
using creel_test::eventually;

namespace {

Process shell(const std::string& script) { return ProcessBuilder{"sh", "-c", script}.start(); }

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

}  // namespace

TEST_CASE("what a process writes, and how it ends") {
  Process sort = ProcessBuilder{"sort"}.start();
  CHECK(sort.is_alive());
  CHECK_FALSE(sort.exit_status());
  sort.standard_input().write_all("b\na\n");
  sort.standard_input().close();
  CHECK(sort.standard_output().read_all_bytes() == "a\nb\n");
  CHECK(sort.wait_for().success());
  CHECK(sort.exit_status() == ExitStatus{});
  CHECK_FALSE(sort.is_alive());
  CHECK_FALSE(sort.to_handle().is_alive());
}

TEST_CASE("an exit code, a signal and a core dump are told apart") {
  CHECK(shell("exit 3").wait_for() == ExitStatus{.code = 3});
  const ExitStatus killed = shell("kill -TERM $$").wait_for();
  CHECK(killed == ExitStatus{.code = 143, .signal = SIGTERM});
  CHECK_FALSE(killed.success());
  CHECK(to_string(ExitStatus{.code = 3}) == "exit code 3");
  CHECK(to_string(killed) == "killed by SIGTERM");
  CHECK(to_string(ExitStatus{.code = 139, .signal = SIGSEGV, .dumped_core = true}) ==
        "killed by SIGSEGV, core dumped");
}

TEST_CASE("waiting for a process answers deadline and interrupt, on both kinds of threads") {
  for (const bool is_virtual : {false, true}) {
    CAPTURE(is_virtual);
    Process process = shell("read line");
    CHECK_FALSE(process.wait_for(2ms));
    const auto start = [&](auto body) {
      return (is_virtual ? Thread::of_virtual() : Thread::of_platform()).start(body);
    };
    Thread interrupted = start([&] { CHECK_THROWS_AS(process.wait_for(), creel::InterruptedError); });
    std::atomic<int> code{-1};
    Thread waiting = start([&] { code = process.wait_for().code; });
    REQUIRE(eventually([&] { return interrupted.state() == ThreadState::Waiting; }));
    REQUIRE(eventually([&] { return waiting.state() == ThreadState::Waiting; }));
    const std::string dump = creel::ThreadDump::take().to_text();
    CHECK(dump.find("(a creel::Process \"sh, pid " + std::to_string(process.pid()) + "\")") !=
          std::string::npos);
    interrupted.interrupt();
    CHECK(interrupted.join(20s));
    process.standard_input().write_all("go\n");
    CHECK(waiting.join(20s));
    CHECK(code == 0);
  }
}

TEST_CASE("destroy asks, destroy_forcibly makes") {
  Process polite = shell("trap 'exit 7' TERM; echo ready; while :; do read line; done");
  CHECK(creel::LineReader(polite.standard_output()).read_line(20s) == "ready");
  polite.destroy();
  CHECK(polite.wait_for(20s) == ExitStatus{.code = 7});
  Process stubborn = shell("trap '' TERM; echo ready; read line; exit 5");
  CHECK(creel::LineReader(stubborn.standard_output()).read_line(20s) == "ready");
  stubborn.destroy();
  CHECK_FALSE(stubborn.wait_for(5ms));
  stubborn.destroy_forcibly();
  CHECK(stubborn.wait_for(20s) == ExitStatus{.code = 137, .signal = SIGKILL});
  stubborn.destroy();  // of one that has ended: nothing
}

TEST_CASE("on_exit is a future of the end, before and after it") {
  Process process = shell("read line; exit 4");
  const auto early = process.on_exit();
  const auto another = process.on_exit();
  CHECK_FALSE(early.is_done());
  process.standard_input().close();
  CHECK(early.get(20s) == ExitStatus{.code = 4});
  CHECK(another.get(20s).code == 4);
  CHECK(process.on_exit().get(20s).code == 4);
}

TEST_CASE("what is chained to the end of a process runs on a virtual thread, where it may block") {
  Process process = shell("read line; exit 4");
  creel::CountDownLatch other_has_ended(1);
  std::atomic<bool> on_virtual{false};
  const auto code = process.on_exit().then_apply([&](const ExitStatus& status) {
    on_virtual = Thread::current().is_virtual();
    other_has_ended.await();  // on the loop's thread this would wait for itself
    return status.code;
  });
  process.standard_input().close();
  REQUIRE(process.wait_for(20s));
  Process other = shell("exit 0");
  const auto told = other.on_exit().then_accept([&](const ExitStatus&) { other_has_ended.count_down(); });
  CHECK(code.get(20s) == 4);
  CHECK(told.wait(20s));
  CHECK(on_virtual);
  // One that has ended already: at once, here.
  CHECK(process.on_exit().then_apply([](const ExitStatus& status) { return status.code + 1; }).get(0s) == 5);
}

TEST_CASE("futures of one process are independent: cancelling one ends neither the process nor the others") {
  Process process = shell("read line; exit 4");
  const auto cancelled = process.on_exit();
  const auto completed = process.on_exit();
  const auto left = process.on_exit();
  CHECK(cancelled.cancel());
  CHECK(completed.complete(ExitStatus{.code = 77}));
  CHECK(process.is_alive());
  CHECK_FALSE(left.is_done());
  process.standard_input().close();
  CHECK(left.get(20s).code == 4);
  CHECK(completed.get().code == 77);
  CHECK(cancelled.is_cancelled());
}

TEST_CASE("a virtual thread waits for a future of the end with its carrier free") {
  Process process = shell("read line; exit 4");
  std::atomic<int> codes{0};
  std::vector<Thread> threads;
  for (int i = 0; i < 300; ++i) {  // more than there can be carriers
    threads.push_back(Thread::of_virtual().start([&] { codes += process.on_exit().get().code; }));
  }
  for (const Thread& thread : threads) {
    REQUIRE(eventually([&] { return thread.state() == ThreadState::Waiting; }));
  }
  process.standard_input().close();
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(codes == 300 * 4);
}

TEST_CASE("a process that nobody has a handle of any more leaves no zombie and no descriptor") {
  shell("exit 0").wait_for();  // what is made once and kept is there now
  const std::size_t before = open_descriptors();
  std::vector<creel::ProcessHandle> handles;
  for (int i = 0; i < 20; ++i) handles.push_back(shell("exit 0").to_handle());
  CHECK(eventually([&] {
    return std::none_of(handles.begin(), handles.end(),
                        [](const auto& handle) { return creel::ProcessHandle::of(handle.pid()) == handle; });
  }));
  CHECK(eventually([&] { return open_descriptors() == before; }));
}

TEST_CASE("children of others are not waited for; one that somebody else waited for is told of") {
  const pid_t other = ::_Fork();  // the runtime knows nothing of it
  REQUIRE(other >= 0);
  if (other == 0) ::_exit(9);
  shell("exit 0").wait_for();
  int status = 0;
  CHECK(::waitpid(other, &status, 0) == other);  // still there
  CHECK(WEXITSTATUS(status) == 9);

  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  Process lost = shell("read line");
  ::sigaction(SIGCHLD, &ignore, &before);
  lost.standard_input().close();
  try {
    lost.wait_for(20s);
    FAIL("there was an exit status");
  } catch (const creel::IoError& error) {
    CHECK(error.error_number() == ECHILD);
  }
  ::sigaction(SIGCHLD, &before, nullptr);
  CHECK_FALSE(lost.is_alive());
  CHECK_THROWS_AS(lost.on_exit().get(20s), creel::IoError);
}

TEST_CASE("many virtual threads run processes at once") {
  const int count = creel_test::kThreadSanitizer ? 10 : 50;
  std::atomic<int> right{0};
  std::vector<Thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.push_back(Thread::of_virtual().start([&, i] {
      Process process = ProcessBuilder{"sh", "-c", "cat; exit " + std::to_string(i)}.start();
      const std::string text = "to " + std::to_string(i);
      process.standard_input().write_all(text);
      process.standard_input().close();
      if (process.standard_output().read_all_bytes(60s) == text && process.wait_for().code == i) ++right;
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(right == count);
}
