#include "creel_test/eventually.hpp"
#include "process/process_files.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/process_builder.hpp>
#include <creel/runtime/process_handle.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <unordered_set>

using namespace std::chrono_literals;
using creel::Process;
using creel::ProcessBuilder;
using creel::ProcessHandle;
using creel::Thread;
using creel_test::eventually;

TEST_CASE("the current process, its parent and its children") {
  const ProcessHandle self = ProcessHandle::current();
  CHECK(self.pid() == ::getpid());
  CHECK(self.is_alive());
  CHECK(self == ProcessHandle::of(::getpid()));
  REQUIRE(self.parent());
  CHECK(self.parent()->pid() == ::getppid());
  CHECK_FALSE(ProcessHandle::of(0));
  CHECK_FALSE(ProcessHandle::of(-1));
  CHECK_FALSE(ProcessHandle::of(4'194'305));
  const std::vector<ProcessHandle> all = ProcessHandle::all_processes();
  CHECK(std::is_sorted(all.begin(), all.end()));
  CHECK(std::find(all.begin(), all.end(), self) != all.end());
  CHECK(std::unordered_set<ProcessHandle>(all.begin(), all.end()).size() == all.size());

  Process shell = ProcessBuilder{"sh", "-c", "sh -c 'echo ready; read line; exit 0'; exit 0"}.start();
  CHECK(creel::LineReader(shell.standard_output()).read_line(20s) == "ready");
  const std::vector<ProcessHandle> children = self.children();
  CHECK(std::find(children.begin(), children.end(), shell.to_handle()) != children.end());
  REQUIRE(shell.descendants().size() == 1);
  const ProcessHandle grandchild = shell.descendants().front();
  CHECK(grandchild.parent() == shell.to_handle());
  CHECK(shell.children() == shell.descendants());
  const std::vector<ProcessHandle> descendants = self.descendants();
  CHECK(std::find(descendants.begin(), descendants.end(), grandchild) >
        std::find(descendants.begin(), descendants.end(), shell.to_handle()));
  shell.standard_input().close();
  CHECK(grandchild.wait_for(20s));
  CHECK(shell.wait_for(20s));
  CHECK(shell.to_handle().children().empty());
}

TEST_CASE("info tells what runs, whose it is, since when, and how long it has computed") {
  const auto before = std::chrono::system_clock::now();
  Process sleep = ProcessBuilder{"sleep", "1000"}.start();
  const creel::ProcessInfo info = sleep.info();
  CHECK(info.command_line == "sleep 1000");
  CHECK(info.arguments == std::vector<std::string>{"1000"});
  REQUIRE(info.command);
  CHECK(info.command->starts_with("/"));
  CHECK(info.user == ProcessHandle::current().info().user);
  REQUIRE(info.start_instant);
  CHECK(*info.start_instant > before - 5s);
  CHECK(*info.start_instant < before + 60s);
  CHECK(info.total_cpu_duration.has_value());
  sleep.destroy();
  sleep.wait_for();
  CHECK_FALSE(sleep.info().command_line);
  volatile unsigned spin = 0;
  while (*ProcessHandle::current().info().total_cpu_duration < 20ms) spin = spin + 1;
}

TEST_CASE("the end of a process that is not ours to wait for") {
  const pid_t child = ::_Fork();  // the runtime knows nothing of it
  REQUIRE(child >= 0);
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const ProcessHandle handle = ProcessHandle::of(child).value();
  CHECK_FALSE(handle.wait_for(2ms));
  const auto future = handle.on_exit();
  const auto chained = future.then_apply(
      [](const ProcessHandle& ended) { return std::pair(ended.pid(), Thread::current().is_virtual()); });
  Thread waiting = Thread::of_virtual().start([&] { CHECK(handle.wait_for()); });
  Thread interrupted =
      Thread::of_virtual().start([&] { CHECK_THROWS_AS(handle.wait_for(), creel::InterruptedError); });
  REQUIRE(eventually([&] { return waiting.state() == creel::ThreadState::Waiting; }));
  REQUIRE(eventually([&] { return interrupted.state() == creel::ThreadState::Waiting; }));
  interrupted.interrupt();
  CHECK(interrupted.join(20s));
  CHECK_FALSE(future.is_done());
  CHECK(handle.destroy_forcibly());
  CHECK(waiting.join(20s));
  CHECK(future.get(20s) == handle);
  CHECK(chained.get(20s) == std::pair(child, true));
  CHECK_FALSE(handle.is_alive());  // a zombie
  CHECK_FALSE(handle.destroy());
  CHECK(handle.on_exit().is_done());
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);  // nobody took it from us
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(handle.wait_for(0s));
}

TEST_CASE("nobody waits for the end of the current process") {
  CHECK_THROWS_AS(ProcessHandle::current().wait_for(0s), creel::Error);
  CHECK_THROWS_AS(ProcessHandle::current().on_exit(), creel::Error);
}

TEST_CASE("a number that another process has by now is not signalled") {
  // What a recycled number looks like: the number of a living process, the start of another.
  Process sleep = ProcessBuilder{"sleep", "1000"}.start();
  static_assert(sizeof(ProcessHandle) == 2 * sizeof(std::uint64_t));
  ProcessHandle stale = sleep.to_handle();
  auto* words = reinterpret_cast<unsigned char*>(&stale);
  words[sizeof(std::uint64_t)] ^= 1;  // its start
  CHECK(stale.pid() == sleep.pid());
  CHECK_FALSE(stale.is_alive());
  CHECK_FALSE(stale.destroy_forcibly());
  CHECK_FALSE(stale.send_signal(SIGKILL));
  CHECK(stale.wait_for(0s));
  CHECK_FALSE(stale.parent());
  CHECK(stale.children().empty());
  CHECK_FALSE(stale.info().command);
  CHECK(sleep.is_alive());
  CHECK(sleep.to_handle().destroy());
  CHECK(sleep.wait_for(20s).value().signal == SIGTERM);
}

TEST_CASE("a process does not destroy itself, but may ask whether it could be signalled") {
  CHECK_THROWS_AS(ProcessHandle::current().destroy(), creel::Error);
  CHECK_THROWS_AS(ProcessHandle::current().destroy_forcibly(), creel::Error);
  CHECK(ProcessHandle::current().send_signal(0));
}

TEST_CASE("a name with blanks and parentheses does not confuse the reader of /proc") {
  Process odd = ProcessBuilder{"sh", "-c", "printf ') S 1 (' > /proc/$$/comm; echo ready; read line"}.start();
  CHECK(creel::LineReader(odd.standard_output()).read_line(20s) == "ready");
  const auto stat = creel::detail::read_process_stat(odd.pid());
  REQUIRE(stat);
  CHECK(stat->parent == ::getpid());
  CHECK(odd.to_handle().parent() == ProcessHandle::current());
  odd.standard_input().close();
  odd.wait_for();
}
