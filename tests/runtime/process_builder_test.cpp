#include "creel_test/sanitizer.hpp"
#include "creel_test/temporary_folder.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/process_builder.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

using namespace std::chrono_literals;
using creel::Process;
using creel::ProcessBuilder;
using creel::ProcessLimit;
using creel::Redirect;
using creel::Thread;
namespace fs = std::filesystem;

namespace {

std::string output_of(const ProcessBuilder& builder) {
  Process process = builder.start();
  process.standard_input().close();
  std::string text = process.standard_output().read_all_bytes(60s);
  process.wait_for();
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string content_of(const fs::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

creel::IoError failure_of(const ProcessBuilder& builder) {
  try {
    builder.start();
  } catch (const creel::IoError& error) {
    return error;
  }
  FAIL("it started");
  return {"", "", 0};
}

bool contains(const char* text, const std::string& part) {
  return std::string(text).find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("arguments arrive as they are") {
  CHECK(output_of({"printf", "%s|", "", "a b", "$HOME", "\"'\n"}) == "|a b|$HOME|\"'\n|");
  ProcessBuilder changed{"false"};
  changed.command({"echo", "changed"});
  CHECK(changed.command() == std::vector<std::string>{"echo", "changed"});
  CHECK(output_of(changed) == "changed");
  CHECK_THROWS_AS(ProcessBuilder(std::vector<std::string>{}).start(), creel::Error);
  CHECK_THROWS_AS(ProcessBuilder({"echo", std::string("a\0b", 3)}).start(), creel::Error);
}

TEST_CASE("the environment is ours, changed, or nothing but what is said") {
  ::setenv("CREEL_TEST_INHERITED", "from us", 1);
  ProcessBuilder builder{"sh", "-c", "echo \"$CREEL_TEST_INHERITED, $CREEL_TEST_SET\""};
  CHECK(output_of(builder) == "from us, ");
  builder.environment()["CREEL_TEST_SET"] = "to this";
  CHECK(output_of(builder) == "from us, to this");
  builder.environment().erase("CREEL_TEST_INHERITED");
  CHECK(output_of(builder) == ", to this");
  ProcessBuilder bare{"env"};
  bare.environment().clear();
  bare.environment()["A"] = "b=c";
  CHECK(output_of(bare) == "A=b=c");
  bare.environment()["D="] = "e";
  CHECK_THROWS_AS(bare.start(), creel::Error);
  ::unsetenv("CREEL_TEST_INHERITED");
}

TEST_CASE("it begins in its directory, from which a relative program is looked for") {
  const creel_test::TemporaryFolder folder;
  fs::create_symlink("/bin/pwd", folder / "where");
  CHECK(output_of(ProcessBuilder{"./where"}.directory(folder.path())) ==
        fs::canonical(folder.path()).string());
}

TEST_CASE("streams go to and come from files") {
  const creel_test::TemporaryFolder folder;
  const fs::path file = folder / "file";
  ProcessBuilder echo{"echo", "one"};
  echo.redirect_output(Redirect::to(file));
  Process process = echo.start();
  CHECK(process.wait_for().success());
  CHECK_FALSE(process.standard_output().is_open());
  CHECK(content_of(file) == "one\n");
  echo.redirect_output(Redirect::append_to(file)).start().wait_for();
  CHECK(content_of(file) == "one\none\n");
  echo.redirect_output(Redirect::to(file)).start().wait_for();
  CHECK(content_of(file) == "one\n");
  CHECK(output_of(ProcessBuilder{"cat"}.redirect_input(Redirect::from(file))) == "one");
  CHECK(output_of(ProcessBuilder{"cat"}.redirect_input(Redirect::discard())) == "");
  CHECK_THROWS_AS(echo.redirect_output(Redirect::from(file)), creel::Error);
  CHECK_THROWS_AS(echo.redirect_input(Redirect::to(file)), creel::Error);
  CHECK_THROWS_AS(echo.redirect_error(Redirect::from(file)), creel::Error);
  const creel::IoError missing =
      failure_of(ProcessBuilder{"cat"}.redirect_input(Redirect::from(folder / "none")));
  CHECK(missing.error_number() == ENOENT);
  CHECK(contains(missing.what(), (folder / "none").string()));
}

TEST_CASE("standard error by itself, with standard output, away, or to a descriptor of ours") {
  ProcessBuilder both{"sh", "-c", "echo out; echo err >&2"};
  Process process = both.start();
  CHECK(process.standard_error().read_all_bytes(60s) == "err\n");
  CHECK(process.standard_output().read_all_bytes(60s) == "out\n");
  both.redirect_error(Redirect::discard());
  CHECK(output_of(both) == "out");
  both.redirect_error_stream();
  CHECK(output_of(both) == "out\nerr");
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  creel::FdStream source(creel::UniqueFd(ends[0]), "test");
  {
    const creel::UniqueFd sink(ends[1]);
    both.redirect_error_stream(false).redirect_error(Redirect::descriptor(sink.get()));
    CHECK(output_of(both) == "out");
  }
  CHECK(source.read_all_bytes(60s) == "err\n");
}

TEST_CASE("inherit_io: it writes where we write") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  creel::FdStream source(creel::UniqueFd(ends[0]), "test");
  const creel::UniqueFd ours(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  Process process;
  {
    const creel::UniqueFd sink(ends[1]);
    ::dup2(sink.get(), STDOUT_FILENO);
    process = ProcessBuilder{"echo", "ours"}.inherit_io().start();
    ::dup2(ours.get(), STDOUT_FILENO);
  }
  CHECK(process.wait_for().success());
  CHECK(source.read_all_bytes(60s) == "ours\n");
}

TEST_CASE("a program that cannot be started: what was tried, and why not") {
  const creel::IoError missing = failure_of({"no-such-program"});
  CHECK(missing.error_number() == ENOENT);
  CHECK(contains(missing.what(), "cannot start no-such-program: tried "));
  CHECK(contains(missing.what(), "/no-such-program"));
  const creel_test::TemporaryFolder folder;
  std::ofstream(folder / "plain") << "text";
  const creel::IoError plain = failure_of({(folder / "plain").string()});
  CHECK(plain.error_number() == EACCES);
  const creel::IoError nowhere = failure_of(ProcessBuilder{"true"}.directory(folder / "none"));
  CHECK(nowhere.error_number() == ENOENT);
  CHECK(contains(nowhere.what(), "cannot start true in directory: " + (folder / "none").string()));
  const creel::IoError closed = failure_of(ProcessBuilder{"true"}.inherit_descriptor(19'999));
  CHECK(closed.error_number() == EBADF);
  siginfo_t none{};
  CHECK(::waitid(P_ALL, 0, &none, WEXITED | WNOHANG | WNOWAIT) != 0);  // no child is left of any of them
}

TEST_CASE("it gets its three descriptors and those given on, no other, and no blocked or ignored SIGPIPE") {
  const creel::UniqueFd leak(::open("/dev/null", O_RDONLY));  // without O_CLOEXEC, as a library may have it
  const creel::UniqueFd given(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ProcessBuilder list{
      "sh", "-c", "i=0; while [ $i -lt 100 ]; do [ -e /proc/$$/fd/$i ] && echo $i; i=$((i+1)); done; true"};
  CHECK(output_of(list) == "0\n1\n2");
  CHECK(output_of(list.inherit_descriptor(given.get())) == "0\n1\n2\n" + std::to_string(given.get()));
  CHECK((::fcntl(given.get(), F_GETFD) & FD_CLOEXEC) != 0);  // and ours is as it was

  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  std::string status;
  Thread::of_platform()
      .start([&] {
        sigset_t all;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
        status = output_of({"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"});
      })
      .join();
  ::sigaction(SIGPIPE, &before, nullptr);
  CHECK(status.find("SigBlk:\t0000000000000000") != std::string::npos);
  const std::size_t ignored = status.find("SigIgn:\t");
  REQUIRE(ignored != std::string::npos);
  CHECK((std::stoull(status.substr(ignored + 8), nullptr, 16) & (1ULL << (SIGPIPE - 1))) == 0);
}

TEST_CASE("limits, sessions and process groups") {
  CHECK(output_of(ProcessBuilder{"sh", "-c", "ulimit -n; ulimit -c"}
                      .limit(ProcessLimit::OpenFiles, 77)
                      .limit(ProcessLimit::CoreFileBytes, 0)) == "77\n0");
  Process killed =
      ProcessBuilder{"sh", "-c", "while :; do :; done"}.limit(ProcessLimit::CpuSeconds, 0).start();
  CHECK(killed.wait_for(60s).value().signal != 0);
  const std::string own = std::to_string(::getpgrp());
  const std::string fields = "set -- $(cat /proc/$$/stat); echo $1 $5 $6";  // pid, group, session
  const auto read = [&](const ProcessBuilder& builder) {
    std::istringstream text(output_of(builder));
    std::array<pid_t, 3> numbers{};
    text >> numbers[0] >> numbers[1] >> numbers[2];
    return numbers;
  };
  const auto plain = read({"sh", "-c", fields});
  CHECK(plain[1] == ::getpgrp());
  const auto grouped = read(ProcessBuilder{"sh", "-c", fields}.process_group());
  CHECK(grouped[1] == grouped[0]);
  CHECK(grouped[2] == ::getsid(0));
  const auto alone = read(ProcessBuilder{"sh", "-c", fields}.new_session());
  CHECK(alone[2] == alone[0]);
}

TEST_CASE("a death signal comes with our process's end, not with that of the thread that started it") {
  if (!creel_test::kChildMayStartThreads) return;
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    pid_t started = 0;
    Thread::of_platform()
        .start([&] {
          started = ProcessBuilder{"sleep", "1000"}.death_signal(SIGKILL).start().pid();
        })
        .join();
    // The thread has ended. A second process, started later, finds the first one alive still.
    const bool alive = ProcessBuilder{"kill", "-0", std::to_string(started)}.start().wait_for().success();
    if (!alive) started = -1;
    [[maybe_unused]] const ssize_t written = ::write(ends[1], &started, sizeof started);
    ::_exit(0);
  }
  ::close(ends[1]);
  creel::FdStream source(creel::UniqueFd(ends[0]), "child");
  pid_t started = 0;
  CHECK(source.read_n_bytes(std::as_writable_bytes(std::span(&started, 1)), 60s) == sizeof started);
  REQUIRE(started > 0);
  const auto handle = creel::ProcessHandle::of(started);
  int status = 0;
  CHECK(::waitpid(child, &status, 0) == child);
  if (handle) CHECK(handle->wait_for(20s));
}

TEST_CASE("at_end is called before anybody knows of the end, while the process's number is still its own") {
  ProcessBuilder builder{"sh", "-c", "read line; exit 3"};
  Process process;
  std::atomic<int> calls{0};
  std::atomic<bool> held{false};
  std::atomic<bool> untold{false};
  // The end of a process comes after `process` was assigned, but through the kernel, where ThreadSanitizer
  // sees no order.
  std::atomic<int> starts{0};
  builder.at_end([&](const creel::ProcessHandle& ended) {
    // A zombie: the number is taken by it, and by no other.
    held = creel::ProcessHandle::of(ended.pid()) == ended && !ended.is_alive();
    while (starts.load(std::memory_order_acquire) == calls) creel::Thread::yield();
    untold = process.is_alive();
    ++calls;
    throw creel::Error("which is logged");
  });
  process = builder.start();
  starts.fetch_add(1, std::memory_order_release);
  const auto future = process.on_exit();
  process.standard_input().close();
  CHECK(process.wait_for(20s) == creel::ExitStatus{.code = 3});
  CHECK(future.get(20s).code == 3);
  CHECK(calls == 1);
  CHECK(held);
  CHECK(untold);
  CHECK(creel::ProcessHandle::of(process.pid()) != process.to_handle());  // it was waited for all the same

  process = builder.start();  // each process that the builder starts
  starts.fetch_add(1, std::memory_order_release);
  process.destroy_forcibly();
  CHECK(process.wait_for(20s)->signal == SIGKILL);
  CHECK(calls == 2);
}

TEST_CASE("a pipeline connects each with the next, and kills what ran if one cannot start") {
  std::vector<Process> processes =
      ProcessBuilder::start_pipeline({{"sort"}, {"uniq", "-c"}, {"tr", "-d", " "}});
  REQUIRE(processes.size() == 3);
  processes.front().standard_input().write_all("b\na\nb\n");
  processes.front().standard_input().close();
  CHECK(processes.back().standard_output().read_all_bytes(60s) == "1a\n2b\n");
  for (const Process& process : processes) CHECK(process.wait_for().success());
  CHECK_FALSE(processes.front().standard_output().is_open());

  const auto children = [] { return creel::ProcessHandle::current().children().size(); };
  const std::size_t before = children();
  CHECK_THROWS_AS(ProcessBuilder::start_pipeline({{"sleep", "1000"}, {"no-such-program"}}), creel::IoError);
  while (children() > before) Thread::yield();
  CHECK_THROWS_AS(
      ProcessBuilder::start_pipeline({ProcessBuilder{"sort"}.redirect_output(Redirect::discard()), {"uniq"}}),
      creel::Error);
}
