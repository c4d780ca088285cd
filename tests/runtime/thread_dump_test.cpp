#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_container.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <nlohmann/json.hpp>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <latch>
#include <mutex>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using creel::Diagnostics;
using creel::DiagnosticsOptions;
using creel::Thread;
using creel::ThreadDump;
using creel::ThreadInfo;
using creel::ThreadState;
using creel_test::eventually;

namespace thread_dump_test {

// Samples running threads, without the files that the tests of the tools need.
const DiagnosticsOptions kSampling{.attach = false, .perf_data = false, .sigquit = false};

std::atomic<bool> stop{false};

[[gnu::noinline]] void spin() {
  while (!stop.load(std::memory_order_relaxed)) asm volatile("" ::: "memory");
}

bool has_function(const ThreadInfo& thread, std::string_view name) {
  return std::any_of(thread.stack.begin(), thread.stack.end(),
                     [name](const creel::StackFrame* frame) { return frame->function == name; });
}

// The lines of a thread in a text dump, from its name to the blank line.
std::string section(const std::string& text, const std::string& name) {
  const std::size_t begin = text.find("\n\"" + name + "\" #");
  if (begin == std::string::npos) return {};
  return text.substr(begin + 1, text.find("\n\n", begin + 1) - begin);
}

struct Pipe {
  Pipe() { REQUIRE(::pipe(ends.data()) == 0); }
  ~Pipe() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
  std::array<int, 2> ends{};
};

}  // namespace thread_dump_test

using namespace thread_dump_test;

TEST_CASE("a parked thread shows its state, what it waits for, who holds it and what it works on") {
  creel::Monitor accounts{"accounts"};
  Thread waiter;
  {
    const std::scoped_lock holding{accounts};
    waiter = Thread::of_platform().name("waiter").daemon().priority(7).start([&] {
      const creel::Activity activity{"stage decode, item 000123 of train-000000.tar"};
      const std::scoped_lock wanted{accounts};
    });
    REQUIRE(eventually([&] { return waiter.state() == ThreadState::Blocked; }));
    const ThreadDump dump = ThreadDump::take();
    const ThreadInfo* info = dump.find(waiter.id());
    REQUIRE(info != nullptr);
    CHECK(info->name == "waiter");
    CHECK(info->state == ThreadState::Blocked);
    CHECK(info->daemon);
    CHECK(info->priority == 7);
    CHECK(info->os_tid > 0);
    CHECK(info->cpu_ms >= 0);
    CHECK(info->activity == "stage decode, item 000123 of train-000000.tar");
    REQUIRE(info->wait.has_value());
    CHECK(info->wait->kind == creel::WaitKind::MonitorEnter);
    CHECK_FALSE(info->wait->timed);
    CHECK(info->wait->on.type == "creel::Monitor");
    CHECK(info->wait->on.name == "accounts");
    CHECK(info->wait->on.owner == Thread::current().id());
    CHECK(info->wait->on.owner_name == Thread::current_name());
    CHECK(has_function(*info, "creel::LockSupport::park"));
    CHECK_FALSE(info->stack_cut);
  }
  waiter.join();
}

TEST_CASE("the text of a blocked thread is HotSpot's") {
  creel::Monitor accounts{"accounts"};
  Thread waiter;
  {
    const std::scoped_lock holding{accounts};
    waiter = Thread::of_platform().name("waiter").start([&] { const std::scoped_lock wanted{accounts}; });
    REQUIRE(eventually([&] { return waiter.state() == ThreadState::Blocked; }));
    const std::string text = ThreadDump::take().to_text();
    CHECK(std::regex_search(text,
                            std::regex("^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\nFull thread dump creel "
                                       "64-Bit Server VM \\(.* mixed mode, sharing\\):\n\n"
                                       "Threads class SMR info:\n_java_thread_list=0x[0-9a-f]{16}, "
                                       "length=\\d+, elements=\\{\n")));
    CHECK(text.find("\nJNI global refs: 0, weak refs: 0\n\n") != std::string::npos);
    const std::string lines = section(text, "waiter");
    CAPTURE(lines);
    CHECK(std::regex_search(
        lines,
        std::regex("^\"waiter\" #\\d+ prio=5 os_prio=-?\\d+ cpu=\\d+\\.\\d\\dms elapsed=\\d+\\.\\d\\ds "
                   "tid=0x[0-9a-f]{16} nid=0x[0-9a-f]+ waiting for monitor entry  \\[0x[0-9a-f]{13}000\\]\n"
                   "   java\\.lang\\.Thread\\.State: BLOCKED \\(on object monitor\\)\n"
                   "\tat [^\n(]+\\([^\n()]+\\)\n"
                   "\t- waiting to lock <0x[0-9a-f]{16}> \\(a creel::Monitor \"accounts\"\\)\n"
                   "\t  held by \"[^\"]+\" #\\d+\n"
                   "\tat ")));
    CHECK_MESSAGE(lines.find("await<") == std::string::npos, lines);  // inlined plumbing is no frame
    std::istringstream each(lines);
    const std::regex frame("\tat [^()]+(operator\\(\\))?\\([^()]+\\)");
    for (std::string line; std::getline(each, line);) {
      if (line.starts_with("\tat ")) CHECK_MESSAGE(std::regex_match(line, frame), line);
    }
  }
  waiter.join();
}

TEST_CASE("held monitors stand under the frame that took them, synchronizers in the list of -l") {
  creel::Monitor outer{"outer"}, inner{"inner"};
  creel::ReentrantLock lock{"lock"};
  std::latch holds(1);
  const Thread holder = Thread::of_platform().name("holder").start([&] {
    struct Levels {
      [[gnu::noinline]] static void lower(creel::Monitor& monitor, std::latch& ready) {
        const std::scoped_lock second{monitor};
        ready.count_down();
        try {
          Thread::sleep(1h);
        } catch (const creel::InterruptedError&) {
        }
      }
    };
    const std::scoped_lock first{outer};
    const std::scoped_lock other{lock};
    Levels::lower(inner, holds);
  });
  holds.wait();
  REQUIRE(eventually([&] { return holder.state() == ThreadState::TimedWaiting; }));
  const ThreadDump dump = ThreadDump::take();
  const ThreadInfo* info = dump.find(holder.id());
  REQUIRE(info != nullptr);
  REQUIRE(info->held.size() == 3);
  for (const creel::HeldLockInfo& held : info->held) {
    CAPTURE(held.lock.name);
    REQUIRE(held.depth >= 0);
    const std::string& function = info->stack[static_cast<std::size_t>(held.depth)]->function;
    CHECK((function.find("lower") != std::string::npos) == (held.lock.name == "inner"));
    CHECK(held.monitor == (held.lock.name != "lock"));
  }
  const std::string text = section(dump.to_text(), "holder");
  CHECK(text.find("- locked <") != std::string::npos);
  CHECK(text.find("\"inner\"") < text.find("\"outer\""));
  CHECK(text.find("\"lock\"") == std::string::npos);
  const std::string with_locks = dump.to_text({.locks = true});
  CHECK(std::regex_search(with_locks, std::regex("Locked ownable synchronizers:\n\t- <0x[0-9a-f]{16}> \\(a "
                                                 "creel::ReentrantLock \"lock\"\\)\n")));
  CHECK(with_locks.find("Locked ownable synchronizers:\n\t- None\n") != std::string::npos);
  holder.interrupt();
  holder.join();
}

TEST_CASE("a running thread, one in a system call and foreign ones show their stacks") {
  if (creel_test::kThreadSanitizer)
    return;  // its runtime holds signals back from a thread that only computes
  const Diagnostics diagnostics{kSampling};
  stop = false;
  Pipe pipe;
  std::mutex mutex;
  mutex.lock();
  const Thread spinner = Thread::of_platform().name("spinner").start([] { spin(); });
  const Thread reader = Thread::of_platform().name("reader").start([&] {
    char byte = 0;
    CHECK(::read(pipe.ends[0], &byte, 1) == 1);  // restarted after the sample, not ended by it
  });
  std::atomic<pid_t> foreign_tid{0};
  std::thread foreign([&] {
    ::pthread_setname_np(::pthread_self(), "foreign one");
    foreign_tid = ::gettid();
    const std::lock_guard wanted{mutex};
  });
  const ThreadInfo *spins = nullptr, *reads = nullptr, *waits = nullptr;
  std::optional<ThreadDump> dump;
  const bool found = eventually([&] {
    dump = ThreadDump::take();
    spins = dump->find(spinner.id());
    reads = dump->find(reader.id());
    waits = dump->find("foreign one");
    return waits != nullptr && waits->wait && waits->wait->on.owner != 0 && spins != nullptr &&
           has_function(*spins, "thread_dump_test::spin") && reads != nullptr && has_function(*reads, "read");
  });
  CAPTURE(dump->to_text());
  REQUIRE(found);
  CHECK(spins->state == ThreadState::Runnable);
  CHECK_FALSE(spins->stack_cut);
  CHECK_FALSE(reads->stack_cut);
  CHECK(has_function(*spins, "creel::detail::run_thread_body"));
  CHECK(has_function(*reads, "creel::detail::run_thread_body"));
  CHECK(waits->foreign);
  CHECK(waits->os_tid == foreign_tid);
  CHECK(waits->state == ThreadState::Waiting);
  CHECK(waits->wait->on.type == "std::mutex");
  CHECK(waits->wait->on.owner == Thread::current().id());
  CHECK(waits->wait->on.address == reinterpret_cast<std::uintptr_t>(&mutex));
  CHECK(ThreadDump::take().find("foreign one")->id == waits->id);
  stop = true;
  mutex.unlock();
  CHECK(::write(pipe.ends[1], "x", 1) == 1);
  foreign.join();
  spinner.join();
  reader.join();
}

TEST_CASE("a thread that blocks signals is listed with the reason") {
  if (creel_test::kThreadSanitizer)
    return;  // its runtime holds signals back from a thread that only computes
  const Diagnostics diagnostics{kSampling};
  stop = false;
  std::latch ready(1);
  const Thread deaf = Thread::of_platform().name("deaf").start([&] {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    ready.count_down();
    spin();
  });
  ready.wait();
  for (int round = 0; round < 3; ++round) {
    const ThreadDump dump = ThreadDump::take();
    CHECK(dump.find(deaf.id())->stack_missing == "blocks signals");
    CHECK(section(dump.to_text(), "deaf").find("\t(not sampled: blocks signals)\n") != std::string::npos);
  }
  stop = true;
  deaf.join();
}

TEST_CASE("without diagnostics running threads are listed but not disturbed") {
  stop = false;
  std::latch started(1);
  const Thread spinner = Thread::of_platform().name("spinner").start([&] {
    started.count_down();
    spin();
  });
  started.wait();
  const ThreadDump dump = ThreadDump::take();
  CHECK(dump.find(spinner.id())->stack.empty());
  CHECK(dump.find(spinner.id())->stack_missing == "no creel::Diagnostics in this process");
  stop = true;
  spinner.join();
}

TEST_CASE("a parked virtual thread shows its own stack, up to its first function") {
  const Thread sleeper = Thread::of_virtual().name("virtual sleeper").start([] {
    try {
      Thread::sleep(1h);
    } catch (const creel::InterruptedError&) {
    }
  });
  REQUIRE(eventually([&] { return sleeper.state() == ThreadState::TimedWaiting; }));
  const ThreadDump dump = ThreadDump::take();
  const ThreadInfo* info = dump.find(sleeper.id());
  REQUIRE(info != nullptr);
  CAPTURE(dump.to_text());
  CHECK(info->is_virtual);
  CHECK(has_function(*info, "creel::Thread::sleep"));
  CHECK_FALSE(info->stack_cut);
  const std::string text = section(dump.to_text(), "virtual sleeper");
  CHECK(text.find(" virtual ") != std::string::npos);
  CHECK(text.find("TIMED_WAITING (sleeping)") != std::string::npos);
  sleeper.interrupt();
  sleeper.join();
}

TEST_CASE("a running virtual thread is sampled on its carrier") {
  if (creel_test::kThreadSanitizer)
    return;  // its runtime holds signals back from a thread that only computes
  const Diagnostics diagnostics{kSampling};
  stop = false;
  const Thread spinner = Thread::of_virtual().name("virtual spinner").start([] { spin(); });
  bool seen = false;
  std::string text;
  const bool found = eventually([&] {
    const ThreadDump dump = ThreadDump::take();
    text = dump.to_text();
    const ThreadInfo* info = dump.find(spinner.id());
    seen = info != nullptr && has_function(*info, "thread_dump_test::spin");
    return seen && info->carrier != 0 && dump.find(info->carrier) != nullptr &&
           dump.find(info->carrier)->carrying == info->id;
  });
  CAPTURE(text);
  CHECK(found);
  CHECK(text.find("   Carrying virtual thread #" + std::to_string(spinner.id()) + "\n") != std::string::npos);
  stop = true;
  spinner.join();
}

TEST_CASE("virtual threads beyond the limit are grouped by stack") {
  std::vector<Thread> threads;
  for (int i = 0; i < 50; ++i) {
    threads.push_back(Thread::of_virtual().name("v-" + std::to_string(i)).start([] {
      try {
        Thread::sleep(1h);
      } catch (const creel::InterruptedError&) {
      }
    }));
  }
  for (const Thread& thread : threads) {
    REQUIRE(eventually([&] { return thread.state() == ThreadState::TimedWaiting; }));
  }
  const std::string text = ThreadDump::take().to_text({.virtual_threads = 10});
  CHECK(section(text, "v-9").find(" virtual ") != std::string::npos);
  CHECK(section(text, "v-10").find(" virtual and 39 more virtual threads with this stack\n") !=
        std::string::npos);
  CHECK(section(text, "v-11").empty());
  for (const Thread& thread : threads) thread.interrupt();
  for (const Thread& thread : threads) thread.join();
}

TEST_CASE("the JSON has the JDK's keys, containers and owners") {
  creel::ReentrantLock lock{
      "lo\xff"
      "ck"};
  const auto pool = creel::ThreadContainer::create("loaders", "creel::ThreadPoolExecutor");
  lock.lock();
  const Thread waiter = Thread::of_platform().name("waiter").container(pool).start(
      [&] { const std::scoped_lock wanted{lock}; });
  REQUIRE(eventually([&] { return waiter.state() == ThreadState::Waiting; }));
  const nlohmann::json json = nlohmann::json::parse(ThreadDump::take().to_json());
  lock.unlock();
  waiter.join();
  const nlohmann::json& dump = json.at("threadDump");
  CHECK(dump.at("processId") == std::to_string(::getpid()));
  CHECK(std::regex_match(dump.at("time").get<std::string>(),
                         std::regex("\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{9}Z")));
  CHECK(dump.at("runtimeVersion").get<std::string>().starts_with("creel "));
  const nlohmann::json& containers = dump.at("threadContainers");
  CHECK(containers.at(0).at("container") == "<root>");
  CHECK(containers.at(0).at("parent").is_null());
  const auto loaders = std::find_if(containers.begin(), containers.end(), [](const nlohmann::json& each) {
    return each.at("container").get<std::string>().starts_with("loaders/creel::ThreadPoolExecutor@");
  });
  REQUIRE(loaders != containers.end());
  CHECK(loaders->at("parent") == "<root>");
  CHECK(loaders->at("threadCount") == "1");
  const nlohmann::json& thread = loaders->at("threads").at(0);
  CHECK(thread.at("tid") == std::to_string(waiter.id()));
  CHECK(thread.at("name") == "waiter");
  CHECK(thread.at("state") == "WAITING");
  CHECK(thread.at("parkBlocker").at("object").get<std::string>().starts_with("creel::ReentrantLock@"));
  CHECK(thread.at("parkBlocker").at("owner") == std::to_string(Thread::current().id()));
  CHECK(thread.at("stack").size() > 3);
}

TEST_CASE("the plain text is that of the JDK's Thread.dump_to_file, with the names of locks") {
  creel::Monitor monitor{"accounts"};
  creel::ReentrantLock lock{"state"};
  const std::scoped_lock outer{monitor};
  lock.lock();
  const Thread enters =
      Thread::of_platform().name("enters").start([&] { const std::scoped_lock wanted{monitor}; });
  const Thread parks = Thread::of_virtual().name("parks").start([&] { const std::scoped_lock wanted{lock}; });
  REQUIRE(eventually([&] { return enters.state() == ThreadState::Blocked; }));
  REQUIRE(eventually([&] { return parks.state() == ThreadState::Waiting; }));
  const std::string text = ThreadDump::take().to_plain();
  CAPTURE(text);
  const std::string time = "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{9}Z";
  const std::string owner = std::to_string(Thread::current().id());
  CHECK(std::regex_search(
      text, std::regex("^" + std::to_string(::getpid()) + "\n" + time + "\ncreel [^\n]+\n\n#")));
  CHECK(std::regex_search(
      text,
      std::regex("\n\n#" + std::to_string(enters.id()) + " \"enters\" BLOCKED " + time +
                 "\n    at [^\n]+\n    - waiting to lock <creel::Monitor@[0-9a-f]+> \"accounts\", owner #" +
                 owner + "\n    at ")));
  CHECK(std::regex_search(
      text, std::regex("\n\n#" + std::to_string(parks.id()) + " \"parks\" virtual WAITING " + time +
                       "\n    at [^\n]+\n    - parking to wait for <creel::ReentrantLock@[0-9a-f]+> \"state\""
                       ", owner #" +
                       owner + "\n    at ")));
  CHECK(std::regex_search(text, std::regex("\n    - locked <creel::Monitor@[0-9a-f]+> \"accounts\"\n")));
  lock.unlock();
  parks.join();
  monitor.unlock();
  enters.join();
  monitor.lock();
}

TEST_CASE("dumps go on while threads come, work and go") {
  const Diagnostics diagnostics{kSampling};
  std::atomic<bool> done{false};
  creel::ReentrantLock lock;
  std::vector<Thread> starters;
  for (int i = 0; i < 2; ++i) {
    starters.push_back(Thread::of_platform().name("starter-" + std::to_string(i)).start([&] {
      while (!done) {
        std::thread foreign([] { std::this_thread::yield(); });
        const Thread own = Thread::of_platform().start([&] {
          const creel::Activity activity{"coming and going"};
          const std::scoped_lock holding{lock};
          Thread::yield();
        });
        const Thread light = Thread::of_virtual().start([] { Thread::yield(); });
        own.join();
        light.join();
        foreign.join();
      }
    }));
  }
  std::size_t most = 0;
  for (int round = 0; round < 200; ++round) {
    const ThreadDump dump = ThreadDump::take();
    most = std::max(most, dump.threads().size());
    CHECK(dump.deadlocks().empty());
    CHECK(dump.find(Thread::current().id()) != nullptr);
    CHECK(dump.to_text({.locks = true, .extended = true}).size() > 500);
  }
  done = true;
  for (const Thread& each : starters) each.join();
  CHECK(most > 3);
}

TEST_CASE("a dump says how long a thread was kept from entering monitors") {
  creel::Monitor monitor;
  creel::CountDownLatch release{1};
  std::unique_lock holding{monitor};
  const Thread thread = Thread::of_platform().start([&] {
    creel::synchronized(monitor, [] {});
    release.await();
  });
  const auto info_of = [&] { return *ThreadDump::take({.sample_running = false}).find(thread.id()); };
  REQUIRE(eventually([&] {
    const ThreadInfo info = info_of();
    return info.state == ThreadState::Blocked && info.wait && info.wait->seconds > 0.05;
  }));
  CHECK(info_of().blocked_ms == 0);
  holding.unlock();
  REQUIRE(eventually([&] { return thread.state() == ThreadState::Waiting; }));
  const ThreadInfo info = info_of();
  CHECK(info.blocked_ms >= 50);
  CHECK(info.blocked_count == 1);
  release.count_down();
  thread.join();
}

TEST_CASE("a running thread is held up for less than 100 microseconds") {
  if (creel_test::kThreadSanitizer)
    return;  // its runtime holds signals back from a thread that only computes
  const Diagnostics diagnostics{kSampling};
  stop = false;
  const Thread spinner = Thread::of_platform().name("spinner").start([] { spin(); });
  std::vector<std::int64_t> stops;
  for (int round = 0; round < 51; ++round) stops.push_back(ThreadDump::take().longest_stop().count());
  stop = true;
  spinner.join();
  std::sort(stops.begin(), stops.end());
  const auto median = stops[stops.size() / 2];
  MESSAGE("stop of a running thread: median " << median << " ns, longest of 51 " << stops.back() << " ns");
  CHECK(stops.front() > 0);
  // The median: a shared machine may take the processor away in the middle of any of them.
  CHECK(median < 100'000);
}
