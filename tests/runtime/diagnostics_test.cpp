#include "creel_test/sanitizer.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/delay_queue.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/fork_join_pool.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/management/attach_client.hpp>
#include <creel/runtime/management/gauge.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_pool_executor.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using creel::attach_execute;
using creel::Diagnostics;
using creel_test::eventually;

namespace {

struct InAnHour {
  template <typename T>
  creel::Deadline operator()(const T&) const {
    return 1h;
  }
};

std::string socket_path(pid_t pid = ::getpid()) { return "/tmp/.java_pid" + std::to_string(pid); }

bool exists(const std::string& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

std::vector<creel::PublishedProcess> own_entries() {
  std::vector<creel::PublishedProcess> all = creel::list_processes();
  std::erase_if(all, [](const creel::PublishedProcess& each) { return each.pid != ::getpid(); });
  return all;
}

std::vector<struct sigaction> dispositions() {
  std::vector<struct sigaction> all;
  for (int number = 1; number <= SIGRTMAX; ++number) {
    struct sigaction action {};
    ::sigaction(number, nullptr, &action);
    all.push_back(action);
  }
  return all;
}

std::size_t open_files() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

creel::UniqueFd connect_raw() {
  creel::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, socket_path().c_str());
  REQUIRE(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  return fd;
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 4096> bytes;
  for (ssize_t size = 0; (size = ::read(fd, bytes.data(), bytes.size())) > 0;) {
    text.append(bytes.data(), static_cast<std::size_t>(size));
  }
  return text;
}

}  // namespace

TEST_CASE("diagnostics install nothing before, and give back everything after") {
  { const Diagnostics once{{.name = "warm"}}; }  // what is opened once and kept (symbols) is not counted
  const auto before = dispositions();
  const std::size_t files = open_files();
  CHECK_FALSE(exists(socket_path()));
  CHECK(own_entries().empty());
  {
    const Diagnostics diagnostics{{.name = "tested", .arguments = {"one", "two words"}}};
    CHECK(exists(socket_path()));
    REQUIRE(own_entries().size() == 1);
    CHECK(own_entries()[0].command == "tested one two words");
    CHECK(own_entries()[0].alive);
    struct sigaction quit {};
    ::sigaction(SIGQUIT, nullptr, &quit);
    CHECK((quit.sa_handler != SIG_DFL));
    CHECK_THROWS_AS(Diagnostics{}, creel::Error);
    CHECK(exists(socket_path()));  // the one that was refused took nothing away
  }
  CHECK_FALSE(exists(socket_path()));
  CHECK(own_entries().empty());
  const auto after = dispositions();
  for (std::size_t i = 0; i < before.size(); ++i) {
    CAPTURE(i + 1);
    CHECK((before[i].sa_handler == after[i].sa_handler));
  }
  CHECK(open_files() == files);
}

TEST_CASE("the socket and the file for jps are the owner's alone") {
  const Diagnostics diagnostics{{.name = "tested"}};
  struct stat status {};
  REQUIRE(::lstat(socket_path().c_str(), &status) == 0);
  CHECK(S_ISSOCK(status.st_mode));
  CHECK((status.st_mode & 0777) == 0600);
  CHECK(status.st_uid == ::geteuid());
}

TEST_CASE("the attach client gets what jstack, jcmd and jinfo ask for") {
  const Diagnostics diagnostics{{.name = "tested", .arguments = {"--all"}}};
  const pid_t pid = ::getpid();
  CHECK(attach_execute(pid, "threaddump").find("Full thread dump creel") != std::string::npos);
  CHECK(attach_execute(pid, "threaddump", {"-e -l"}).find("Locked ownable synchronizers:") !=
        std::string::npos);
  CHECK(attach_execute(pid, "jcmd", {"Thread.print"}).find("\"Attach Listener\" #") != std::string::npos);
  CHECK(attach_execute(pid, "jcmd", {"Thread.print -json"}).find("\"threadDump\"") != std::string::npos);
  CHECK(attach_execute(pid, "jcmd", {"help"}).find("Thread.print\n") != std::string::npos);
  CHECK(attach_execute(pid, "jcmd", {"help Thread.print"}).find("-l") != std::string::npos);
  CHECK(attach_execute(pid, "jcmd", {"VM.version"}).starts_with("creel "));
  CHECK(attach_execute(pid, "jcmd", {"VM.uptime"}).ends_with(" s\n"));
  CHECK(attach_execute(pid, "jcmd", {"VM.command_line"}).find("java_command: tested --all\n") !=
        std::string::npos);
  CHECK(attach_execute(pid, "jcmd", {"VM.flags"}).starts_with("CREEL_LOG="));
  CHECK(attach_execute(pid, "properties").find("sun.java.command=tested --all\n") != std::string::npos);
  CHECK(attach_execute(pid, "agentProperties").find("sun.jvm.args=\n") != std::string::npos);
  CHECK(attach_execute(pid, "getversion") == "2");
  CHECK_THROWS_WITH_AS(attach_execute(pid, "dumpheap"),
                       doctest::Contains("Operation dumpheap not recognized!"), creel::Error);
  CHECK_THROWS_WITH_AS(attach_execute(pid, "jcmd", {"GC.run"}),
                       doctest::Contains("Unknown diagnostic command"), creel::Error);
}

TEST_CASE("Thread.dump_to_file writes once, and over a file only when told") {
  const creel_test::TemporaryFolder folder;
  const Diagnostics diagnostics{{.name = "tested"}};
  const std::string path = folder / "dump.json";
  const std::string command = "Thread.dump_to_file -format=json " + path;
  CHECK(attach_execute(::getpid(), "jcmd", {command}) == "Created " + path + "\n");
  const auto content = [](const std::string& name) {
    std::ifstream file(name);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  CHECK(content(path).find("\"threadContainers\"") != std::string::npos);
  const std::string plain = folder / "dump.txt";
  attach_execute(::getpid(), "jcmd", {"Thread.dump_to_file " + plain});
  CHECK(content(plain).starts_with(std::to_string(::getpid()) + "\n20"));
  CHECK_THROWS_WITH(attach_execute(::getpid(), "jcmd", {command}), doctest::Contains("use -overwrite"));
  CHECK(
      attach_execute(::getpid(), "jcmd", {"Thread.dump_to_file -overwrite " + path}).starts_with("Created"));
}

TEST_CASE("clients that leave, talk nonsense or say nothing do not stop the next one") {
  const Diagnostics diagnostics{{.name = "tested"}};
  { const creel::UniqueFd leaves = connect_raw(); }
  {
    const creel::UniqueFd half = connect_raw();
    CHECK(::write(half.get(), "1\0thre", 6) == 6);
  }
  {
    const creel::UniqueFd wrong = connect_raw();
    CHECK(::write(wrong.get(), "GET / HTTP/1.1\r\n\r\n", 18) == 18);
    CHECK(read_all(wrong.get()) == "101\n");
  }
  {
    const creel::UniqueFd deaf = connect_raw();  // asks, and does not read the reply
    CHECK(::write(deaf.get(), "1\0threaddump\0\0\0\0", 15) == 15);
  }
  CHECK(attach_execute(::getpid(), "jcmd", {"VM.version"}).starts_with("creel "));
}

TEST_CASE("a silent client is no obstacle to the end of diagnostics") {
  std::optional<Diagnostics> diagnostics;
  diagnostics.emplace(creel::DiagnosticsOptions{.name = "tested"});
  const creel::UniqueFd silent = connect_raw();
  const auto begin = std::chrono::steady_clock::now();
  diagnostics.reset();
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
}

TEST_CASE("the client says what is wrong with a process that cannot be asked") {
  CHECK_THROWS_WITH_AS(attach_execute(::getpid(), "threaddump"), doctest::Contains("no creel::Diagnostics"),
                       creel::Error);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  CHECK_THROWS_WITH_AS(attach_execute(child, "threaddump"), doctest::Contains("no process"), creel::Error);
}

TEST_CASE("a socket that went missing is made again when a client asks by SIGQUIT") {
  const Diagnostics diagnostics{{.name = "tested"}};
  REQUIRE(::unlink(socket_path().c_str()) == 0);
  CHECK(attach_execute(::getpid(), "jcmd", {"VM.version"}).starts_with("creel "));
  CHECK(exists(socket_path()));
}

TEST_CASE("SIGQUIT prints a thread dump on stderr") {
  const creel_test::TemporaryFolder folder;
  const std::string path = folder / "stderr";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const int kept = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
  std::string text;
  {
    const Diagnostics diagnostics{{.name = "tested"}};
    ::dup2(file, STDERR_FILENO);
    ::kill(::getpid(), SIGQUIT);
    eventually([&] {
      std::ifstream stream(path);
      text.assign(std::istreambuf_iterator<char>(stream), {});
      return text.find("JNI global refs") != std::string::npos;
    });
    ::dup2(kept, STDERR_FILENO);
  }
  ::close(kept);
  ::close(file);
  CHECK(text.find("Full thread dump creel") != std::string::npos);
  CHECK(text.find("\"Signal Dispatcher\" #") != std::string::npos);
}

TEST_CASE("a forked child has no diagnostics, keeps its parent's and may make its own") {
  if (!creel_test::kChildMayStartThreads) return;
  struct sigaction before {};
  ::sigaction(SIGQUIT, nullptr, &before);  // ignored, not SIG_DFL, in a shell's background job
  const Diagnostics diagnostics{{.name = "parent"}};
  const pid_t child = ::fork();
  if (child == 0) {
    ::unlink(socket_path().c_str());  // of a killed process that had this pid before
    struct sigaction quit {};
    ::sigaction(SIGQUIT, nullptr, &quit);
    bool good = quit.sa_handler == before.sa_handler;
    {
      const Diagnostics own{{.name = "child"}};
      good =
          good && attach_execute(::getpid(), "jcmd", {"VM.command_line"}).find("child") != std::string::npos;
    }
    good = good && !exists(socket_path());
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(exists(socket_path()));
  CHECK(attach_execute(::getpid(), "jcmd", {"VM.command_line"}).find("parent") != std::string::npos);
}

TEST_CASE("what a killed process left is removed on request, a living one's is not") {
  int ready[2];
  REQUIRE(::pipe(ready) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Diagnostics own{{.name = "to be killed"}};
    if (::write(ready[1], "x", 1) == 1) ::pause();
    ::_exit(0);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  ::close(ready[0]);
  ::close(ready[1]);
  creel::remove_leftovers(child);
  CHECK(exists(socket_path(child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  CHECK(exists(socket_path(child)));
  creel::remove_leftovers(child);
  CHECK_FALSE(exists(socket_path(child)));
  for (const creel::PublishedProcess& each : creel::list_processes()) CHECK(each.pid != child);
}

TEST_CASE("files left by dead processes are swept when the next one starts") {
  const pid_t child = ::fork();
  if (child == 0) {
    const Diagnostics own{{.name = "to be killed"}};
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  const auto listed = [&] {
    const auto all = creel::list_processes();
    return std::any_of(all.begin(), all.end(),
                       [&](const creel::PublishedProcess& each) { return each.pid == child; });
  };
  CHECK(listed());
  CHECK(exists(socket_path(child)));
  { const Diagnostics next{{.name = "next"}}; }
  CHECK_FALSE(listed());
  CHECK_FALSE(exists(socket_path(child)));
}

TEST_CASE("gauges stand among the counters, those of one name added up, and as 0 once they are gone") {
  const Diagnostics diagnostics{{.name = "tested", .attach = false}};
  const auto value = [](std::string_view name) -> std::optional<std::int64_t> {
    const auto counters = creel::read_counters(::getpid());
    const auto found = counters.find(std::string(name));
    return found != counters.end() ? std::optional(found->second) : std::nullopt;
  };
  std::atomic<std::int64_t> depth{7};
  {
    const creel::Gauge first{"queue depth", [&] { return depth.load(); }};
    const creel::Gauge second{"queue depth", [] { return std::int64_t{100}; }};
    const creel::Gauge broken{"broken", []() -> std::int64_t { throw creel::Error("no number"); }};
    CHECK(eventually([&] { return value("creel.queue_depth") == 107; }));
    CHECK(value("creel.broken") == 0);
    depth = 8;
    CHECK(eventually([&] { return value("creel.queue_depth") == 108; }));
    CHECK(value("java.threads.live").value_or(0) >= 2);
  }
  CHECK(eventually([&] { return value("creel.queue_depth") == 0; }));
  CHECK_FALSE(value("creel.nothing"));
}

TEST_CASE("executors and queues with a name show their depth among the counters while they live") {
  const Diagnostics diagnostics{{.name = "tested", .attach = false}};
  const auto reads = [](std::string_view name, std::int64_t value) {
    return eventually([&] {
      const auto counters = creel::read_counters(::getpid());
      const auto found = counters.find("creel." + std::string(name));
      return found != counters.end() && found->second == value;
    });
  };
  {
    creel::CountDownLatch release{1};
    creel::ThreadPoolExecutor pool{{.name = "shown"}};
    pool.submit([] {}).get();
    for (int i = 0; i < 4; ++i) pool.execute([&] { release.await(); });
    const auto per_task = creel::executors::new_virtual_thread_per_task_executor("shown-virtual");
    per_task->execute([&] { release.await(); });
    creel::ForkJoinPool divides{{.parallelism = 1, .name = "shown-forks"}};
    divides.execute([&] { release.await(); });
    divides.execute([&] { release.await(); });
    creel::LinkedBlockingQueue<int> linked{creel::from_range, std::vector{1, 2, 3}, "shown-linked"};
    creel::ArrayBlockingQueue<int> array{2, creel::from_range, std::vector{1, 2}, "shown-array"};
    creel::DelayQueue<std::chrono::seconds, InAnHour> delay{"shown-delay"};
    delay.put(1s);
    CHECK(reads("executor.shown.queue", 3));
    CHECK(reads("executor.shown.active", 1));
    CHECK(reads("executor.shown.completed", 1));
    CHECK(reads("executor.shown-virtual.active", 1));
    CHECK(reads("executor.shown-forks.queue", 1));
    CHECK(reads("executor.shown-forks.active", 1));
    CHECK(reads("queue.shown-linked.size", 3));
    CHECK(reads("queue.shown-array.size", 2));
    CHECK(reads("queue.shown-delay.size", 1));
    release.count_down();
    CHECK(reads("executor.shown.queue", 0));
    CHECK(reads("executor.shown.completed", 5));
    CHECK(reads("executor.shown-virtual.completed", 1));
  }
  CHECK(reads("executor.shown.completed", 0));
  CHECK(reads("queue.shown-linked.size", 0));
}

TEST_CASE("an executor's figures wait for nothing that the executor's own functions may wait for") {
  const Diagnostics diagnostics{{.name = "tested", .attach = false}};
  creel::CountDownLatch in_hook{1}, release{1};
  creel::ThreadPoolExecutor::Options options;
  options.name = "hooked";
  options.terminated = [&] {  // under the pool's lock
    in_hook.count_down();
    release.await();
  };
  creel::ThreadPoolExecutor pool{std::move(options)};
  const creel::Thread closer = creel::Thread::of_platform().start([&] { pool.shutdown(); });
  in_hook.await();
  std::atomic<int> number{0};
  const creel::Gauge beside{"beside", [&] { return std::int64_t{++number}; }};
  CHECK(eventually([&] { return number > 2; }));  // the table is written, again and again
  release.count_down();
  closer.join();
}

TEST_CASE("more gauges than the table has room for cost only those that come last") {
  const Diagnostics diagnostics{{.name = "tested", .attach = false}};
  std::vector<std::unique_ptr<creel::Gauge>> gauges;
  for (int i = 1000; i < 2000; ++i) {
    gauges.push_back(
        std::make_unique<creel::Gauge>("many." + std::to_string(i), [i] { return std::int64_t{i}; }));
  }
  CHECK(eventually([] { return creel::read_counters(::getpid())["creel.many.1000"] == 1000; }));
  const auto counters = creel::read_counters(::getpid());
  CHECK(counters.size() > 300);
  CHECK(counters.size() < 900);
  for (const auto& [name, value] : counters) {
    if (name.starts_with("creel.many.")) CHECK(name == "creel.many." + std::to_string(value));
  }
}

TEST_CASE("waits to enter a monitor are counted") {
  const Diagnostics diagnostics{{.name = "tested", .attach = false}};
  const auto contended = [] {
    return creel::read_counters(::getpid())["sun.rt._sync_ContendedLockAttempts"];
  };
  creel::Monitor monitor;
  creel::Thread waiter;
  const std::int64_t before = contended();
  {
    const std::scoped_lock holding{monitor};
    waiter = creel::Thread::of_platform().start([&] { const std::scoped_lock wanted{monitor}; });
    REQUIRE(eventually([&] { return waiter.state() == creel::ThreadState::Blocked; }));
  }
  waiter.join();
  CHECK(eventually([&] { return contended() > before; }));
}
