#include "creel_test/both_kinds.hpp"
#include "creel_test/eventually.hpp"
#include "thread_body.hpp"
#include "thread_record.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadState;
using creel_test::eventually;

TEST_CASE("a platform thread has a name, an id and a state that follow its life") {
  std::atomic<bool> go{false};
  std::string seen_name;
  Thread thread = Thread::of_platform().name("decode-", 3).start([&] {
    seen_name = Thread::current_name();
    creel::Blocker blocker{.object = &go, .type = "test"};
    while (!go) creel::LockSupport::park(blocker);
  });
  CHECK(thread.name() == "decode-3");
  CHECK(thread.id() != Thread::current().id());
  CHECK_FALSE(thread.is_virtual());
  CHECK(eventually([&] { return thread.state() == ThreadState::Waiting; }));
  CHECK(thread.is_alive());
  go = true;
  creel::LockSupport::unpark(thread);
  CHECK(thread.join());
  CHECK(seen_name == "decode-3");
  CHECK(thread.state() == ThreadState::Terminated);
  CHECK_FALSE(thread.is_alive());
  CHECK(creel::detail::ThreadRegistry::instance().find(thread.id()) == nullptr);
}

TEST_CASE("names count on through a factory; unnamed threads get Java's names") {
  const creel::ThreadFactory factory = Thread::of_platform().name("pool-", 7).factory();
  Thread first = factory([] {});
  Thread second = factory([] {});
  CHECK(first.name() == "pool-7");
  CHECK(second.name() == "pool-8");
  Thread unnamed = Thread::of_platform().start([] {});
  CHECK(unnamed.name().rfind("Thread-", 0) == 0);
  for (const Thread& thread : {first, second, unnamed}) thread.join();
}

TEST_CASE("a thread can be renamed while it lives, and sees it itself") {
  std::atomic<bool> go{false};
  std::string seen;
  const Thread thread = Thread::of_platform().name("before").start([&] {
    while (!go) creel::LockSupport::park({.object = &go, .type = "creel::Test", .name = "gate"});
    seen = Thread::current_name();
  });
  Thread handle = thread;
  handle.set_name("after");
  CHECK(thread.name() == "after");
  go = true;
  creel::LockSupport::unpark(thread);
  thread.join();
  CHECK(seen == "after");
}

TEST_CASE("a park is published with its blocker, registers and time") {
  std::atomic<bool> go{false};
  Thread thread = Thread::of_platform().start([&] {
    while (!go) creel::LockSupport::park({.object = &go, .type = "creel::Test", .name = "gate"}, 1h);
  });
  const creel::detail::ParkSite& site = thread.record()->park_site;
  REQUIRE(eventually([&] { return site.epoch.load(std::memory_order_acquire) % 2 == 1; }));
  CHECK(thread.state() == ThreadState::TimedWaiting);
  CHECK(site.object.load() == &go);
  CHECK(std::string(site.name.load()) == "gate");
  CHECK(site.timed.load());
  CHECK(site.registers.rsp > thread.record()->stack_low);
  CHECK(site.registers.rsp < thread.record()->stack_high);
  // The return address lies in this program, just below the frame's own stack.
  std::uint64_t return_address = 0;
  CHECK(creel::detail::safe_read(reinterpret_cast<void*>(site.registers.rsp - 8), &return_address, 8));
  CHECK(return_address == site.registers.rip);
  go = true;
  creel::LockSupport::unpark(thread);
  thread.join();
  CHECK(site.epoch.load() % 2 == 0);
}

TEST_CASE("unpark before park leaves one permit, and only one") {
  Thread self = Thread::current();
  const creel::Blocker blocker{};
  creel::LockSupport::unpark(self);
  creel::LockSupport::unpark(self);
  creel::LockSupport::park(blocker);  // returns at once
  const auto before = creel::Deadline::Clock::now();
  creel::LockSupport::park(blocker, 20ms);
  CHECK(creel::Deadline::Clock::now() - before >= 20ms);
}

TEST_CASE("interrupt ends sleep, join and park, and the flag is cleared by what throws") {
  Thread sleeper = Thread::of_platform().start([] {
    CHECK_THROWS_AS(Thread::sleep(1h), creel::InterruptedError);
    CHECK_FALSE(Thread::interrupted());
    CHECK_THROWS_AS(Thread::sleep(creel::Deadline::never()), creel::InterruptedError);
  });
  Thread joiner =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(sleeper.join(), creel::InterruptedError); });
  REQUIRE(eventually([&] { return sleeper.state() == ThreadState::TimedWaiting; }));
  REQUIRE(eventually([&] { return joiner.state() == ThreadState::Waiting; }));
  CHECK(joiner.record()->park_site.owner.load()->load() == sleeper.id());
  joiner.interrupt();
  CHECK(joiner.join(20s));
  sleeper.interrupt();
  REQUIRE(eventually([&] { return sleeper.state() == ThreadState::Waiting; }));
  sleeper.interrupt();
  CHECK(sleeper.join(20s));

  Thread parked = Thread::of_platform().start([] {
    while (!Thread::current().is_interrupted()) creel::LockSupport::park({});
    CHECK(Thread::interrupted());
    CHECK_FALSE(Thread::interrupted());
  });
  parked.interrupt();
  CHECK(parked.join(20s));
}

TEST_CASE("interrupt asks the stop_token to stop") {
  std::atomic<bool> stopped{false};
  Thread thread = Thread::of_platform().start([&](std::stop_token token) {
    while (!token.stop_requested()) Thread::yield();
    stopped = true;
  });
  thread.interrupt();
  CHECK(thread.join(20s));
  CHECK(stopped);
}

TEST_CASE("who catches the InterruptedError finds its stop_token asked already") {
  for (int round = 0; round < 100; ++round) {
    for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
      bool asked = false;
      const Thread thread = builder.start([&](std::stop_token token) {
        try {
          Thread::sleep(60s);
        } catch (const creel::InterruptedError&) {
          asked = token.stop_requested();
        }
      });
      if (round % 2 == 0) Thread::yield();
      thread.interrupt();
      CHECK(thread.join(20s));
      CHECK(asked);
    }
  }
}

TEST_CASE("join passes its deadline, and what the thread did is seen after it") {
  std::vector<int> result;
  std::atomic<bool> go{false};
  Thread thread = Thread::of_platform().start([&] {
    while (!go) Thread::yield();
    result.assign(1000, 7);
  });
  CHECK_FALSE(thread.join(10ms));
  go = true;
  CHECK(thread.join());
  CHECK(result == std::vector<int>(1000, 7));
  CHECK_THROWS_AS(Thread::current().join(), creel::Error);
}

TEST_CASE("a thread's handler can be asked for, and changed while it runs") {
  creel_test::on_both_kinds([] {
    std::string told;
    const auto tell = [&](const char* who) {
      return [&told, who](const Thread& thread, std::exception_ptr) { told += who + thread.name(); };
    };
    Thread::Builder builder = Thread::current().is_virtual() ? Thread::of_virtual() : Thread::of_platform();
    builder.name("x").uncaught_exception_handler(tell("first "));
    const auto fail = [] { throw std::runtime_error("from the body"); };

    Thread kept = builder.unstarted(fail);
    REQUIRE(kept.uncaught_exception_handler());
    kept.uncaught_exception_handler()(kept, nullptr);
    CHECK(told == "first x");
    kept.start();
    kept.join();
    CHECK(told == "first xfirst x");
    CHECK_FALSE(kept.uncaught_exception_handler());  // it has ended

    told.clear();
    builder
        .start([&] {
          Thread::current().set_uncaught_exception_handler(tell("second "));
          fail();
        })
        .join();
    CHECK(told == "second x");

    // Without one of its own, the default: as it is then.
    told.clear();
    Thread::set_default_uncaught_exception_handler(tell("default "));
    builder
        .start([&] {
          Thread::current().set_uncaught_exception_handler({});
          Thread::current().uncaught_exception_handler()(Thread::current(), nullptr);
          fail();
        })
        .join();
    Thread::set_default_uncaught_exception_handler({});
    CHECK(told == "default xdefault x");
  });
}

TEST_CASE("what a handler holds is let go with its thread, one that was never started too") {
  creel_test::on_both_kinds([] {
    const auto held = std::make_shared<int>(1);
    Thread::Builder builder = Thread::current().is_virtual() ? Thread::of_virtual() : Thread::of_platform();
    const auto handler = [held](const Thread&, std::exception_ptr) {};
    Thread ended = builder.start([] {});
    ended.set_uncaught_exception_handler(handler);
    Thread with_body = builder.unstarted([] {});
    with_body.set_uncaught_exception_handler(handler);
    with_body.start();
    with_body.join();
    ended.join();
    ended = Thread();
    Thread unstarted = builder.unstarted([] {});
    unstarted.set_uncaught_exception_handler(handler);
    CHECK(eventually([&] { return held.use_count() == 3; }));  // ours, the handler's, the unstarted thread's
    unstarted = Thread();
    CHECK(held.use_count() == 2);
  });
}

TEST_CASE("the priority of a thread can be changed; counts know the most there were") {
  std::atomic<bool> go{false};
  Thread thread = Thread::of_platform().start([&] {
    while (!go) Thread::yield();
  });
  thread.set_priority(3);
  CHECK(thread.priority() == 3);
  CHECK_THROWS_AS(thread.set_priority(0), creel::Error);
  CHECK_THROWS_AS(thread.set_priority(11), creel::Error);
  CHECK(thread.priority() == 3);
  pid_t tid = 0;
  while ((tid = thread.record()->os_tid) == 0) Thread::yield();
  thread.set_priority(3);  // surely after the kernel's thread was there
  CHECK(::getpriority(PRIO_PROCESS, static_cast<id_t>(tid)) == 2);  // a lower one anybody may set

  const creel::ThreadCounts before = Thread::counts();
  CHECK(before.live >= 2);  // this one, and that one
  CHECK(before.peak >= before.live);
  CHECK(before.started >= before.live);
  Thread another = Thread::of_platform().daemon().start([&] {
    while (!go) Thread::yield();
  });
  Thread on_carrier = Thread::of_virtual().start([&] {
    while (!go) Thread::yield();
  });
  const creel::ThreadCounts with_others = Thread::counts();
  CHECK(with_others.started > before.started);
  CHECK(with_others.daemon > before.daemon);
  CHECK(with_others.virtual_live == before.virtual_live + 1);
  go = true;
  for (const Thread& each : {thread, another, on_carrier}) each.join();
  Thread::reset_peak_count();
  const creel::ThreadCounts after = Thread::counts();
  CHECK(after.peak < with_others.peak);
  CHECK(after.peak == after.live);
}

TEST_CASE("an uncaught exception goes to the handler, with its thread") {
  std::string what;
  Thread failing = Thread::of_platform()
                       .name("failing")
                       .uncaught_exception_handler([&](const Thread& thread, std::exception_ptr exception) {
                         try {
                           std::rethrow_exception(exception);
                         } catch (const std::exception& error) {
                           what = thread.name() + ": " + error.what();
                         }
                       })
                       .start([] { throw std::runtime_error("no more tea"); });
  failing.join();
  CHECK(what == "failing: no more tea");
}

TEST_CASE("thread_locals are destroyed before join returns, and may still use the runtime") {
  static std::atomic<std::uint64_t> seen{0};
  struct AtEnd {
    ~AtEnd() { seen = Thread::current().id(); }
  };
  Thread thread = Thread::of_platform().start([] {
    thread_local AtEnd at_end;
    (void)&at_end;
  });
  thread.join();
  CHECK(seen == thread.id());
}

TEST_CASE("a foreign thread is adopted, listed while it lives and gone after") {
  std::atomic<std::uint64_t> id{0};
  std::atomic<bool> go{false};
  std::thread foreign([&] {
    id = Thread::adopt_current("foreign").id();
    while (!go) Thread::yield();
  });
  REQUIRE(eventually([&] { return id != 0; }));
  auto record = creel::detail::ThreadRegistry::instance().find(id);
  REQUIRE(record != nullptr);
  CHECK(record->name() == "foreign");
  CHECK(record->adopted);
  CHECK(record->os_tid > 0);
  go = true;
  foreign.join();
  CHECK(creel::detail::ThreadRegistry::instance().find(id) == nullptr);
  CHECK(record->state == ThreadState::Terminated);
}

TEST_CASE("the activity line nests and is cut, not torn") {
  auto& text = creel::detail::current_record().running.load()->activity;
  {
    creel::Activity outer{"stage decode"};
    {
      creel::Activity inner{std::string(300, 'x')};
      CHECK(text.get() == std::string(119, 'x'));
      inner.set("item 7");
      CHECK(text.get() == "item 7");
    }
    CHECK(text.get() == "stage decode");
  }
  CHECK(text.get().empty());
}

TEST_CASE("an activity is read whole while it changes") {
  std::atomic<bool> stop{false};
  Thread writer = Thread::of_platform().start([&] {
    creel::Activity activity{""};
    for (std::size_t i = 0; !stop; ++i)
      activity.set(std::string(1 + i % 100, static_cast<char>('a' + i % 26)));
  });
  for (int i = 0; i < 20000; ++i) {
    const std::string line = writer.record()->running.load()->activity.get();
    if (!line.empty()) REQUIRE(line.find_first_not_of(line[0]) == std::string::npos);
  }
  stop = true;
  writer.join();
}

TEST_CASE("wait_on returns for a changed word, a wake, a deadline and an interrupt") {
  using Wake = creel::LockSupport::Wake;
  std::atomic<std::uint32_t> word{5};
  CHECK(creel::LockSupport::wait_on(word, 4, {}) == Wake::Changed);
  CHECK(creel::LockSupport::wait_on(word, 5, {}, 10ms) == Wake::TimedOut);
  std::atomic<Wake> wake{Wake::TimedOut};
  Thread waiter = Thread::of_platform().start([&] { wake = creel::LockSupport::wait_on(word, 5, {}); });
  REQUIRE(eventually([&] { return waiter.state() == ThreadState::Waiting; }));
  word = 6;
  creel::LockSupport::wake(word, 1);
  CHECK(waiter.join(20s));
  CHECK(wake == Wake::Changed);
  Thread interrupted = Thread::of_platform().start([&] { wake = creel::LockSupport::wait_on(word, 6, {}); });
  interrupted.interrupt();
  CHECK(interrupted.join(20s));
  CHECK(wake == Wake::Interrupted);
}

TEST_CASE("safe_read refuses what is not mapped") {
  int value = 42;
  int copy = 0;
  CHECK(creel::detail::safe_read(&value, &copy, sizeof copy));
  CHECK(copy == 42);
  CHECK_FALSE(creel::detail::safe_read(reinterpret_cast<void*>(16), &copy, sizeof copy));
}

TEST_CASE("an unstarted thread is New until it is started, once") {
  for (Thread::Builder builder : {Thread::of_platform().name("later"), Thread::of_virtual().name("later")}) {
    bool ran = false;
    Thread thread = builder.unstarted([&] { ran = true; });
    CHECK(thread.state() == ThreadState::New);
    CHECK_FALSE(thread.is_alive());
    CHECK(creel::detail::ThreadRegistry::instance().find(thread.id()) == nullptr);
    CHECK_THROWS_AS(thread.join(), creel::Error);
    CHECK_FALSE(ran);
    thread.start();
    CHECK(thread.join());
    CHECK(ran);
    CHECK_THROWS_WITH_AS(thread.start(), "thread \"later\" was started before; a thread runs once",
                         creel::Error);
    auto captured = std::make_shared<int>(1);
    {
      const Thread never = builder.unstarted([captured] {});
    }
    CHECK(captured.use_count() == 1);
  }
}

TEST_CASE("an interrupt before the start is there after it") {
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    bool interrupted = false;
    Thread thread = builder.unstarted([&] { interrupted = Thread::interrupted(); });
    thread.interrupt();
    thread.start();
    thread.join();
    CHECK(interrupted);
  }
}

TEST_CASE("the default handler gets what no thread's own handler does") {
  CHECK_FALSE(Thread::default_uncaught_exception_handler());
  std::atomic<int> by_default{0}, by_own{0};
  Thread::set_default_uncaught_exception_handler([&](const Thread&, std::exception_ptr) { ++by_default; });
  CHECK(Thread::default_uncaught_exception_handler());
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    builder.start([] { throw std::runtime_error("no more tea"); }).join();
    builder.uncaught_exception_handler([&](const Thread&, std::exception_ptr) { ++by_own; })
        .start([] { throw std::runtime_error("no more tea"); })
        .join();
  }
  Thread::set_default_uncaught_exception_handler(nullptr);
  CHECK(by_default == 2);
  CHECK(by_own == 2);
}

TEST_CASE("a body may be move-only, with a stop_token or without, and goes when the thread has ended") {
  const auto watched = std::make_shared<int>(7);
  const auto owned = [&] { return std::make_unique<std::shared_ptr<int>>(watched); };
  std::atomic<int> sum{0};
  for (auto builder : {Thread::of_platform(), Thread::of_virtual()}) {
    builder.start([&sum, value = owned()] { sum += **value; }).join();
    builder.start([&sum, value = owned()](std::stop_token) mutable { sum += **std::exchange(value, {}); })
        .join();
    const Thread later = builder.unstarted([&sum, value = owned()] { sum += **value; });
    later.start();
    later.join();
  }
  Thread::start_virtual_thread([&sum, value = owned()] { sum += **value; }).join();
  CHECK(sum == 7 * 7);
  CHECK(eventually([&] { return watched.use_count() == 1; }));
}

TEST_CASE("what an uncaught exception says of itself, also one that is no std::exception") {
  const auto described = [](auto exception) {
    return creel::detail::describe_exception(std::make_exception_ptr(exception));
  };
  CHECK(described(std::logic_error("lost")) == "lost");
  CHECK(described(7) == "exception of type int");
}

TEST_CASE("all() has the live threads of both kinds; holds_lock is about the caller") {
  std::atomic<bool> go{false};
  creel::Monitor monitor;
  const std::lock_guard guard{monitor};
  std::atomic<int> holders{0};
  const auto body = [&] {
    if (Thread::holds_lock(monitor)) ++holders;
    while (!go) Thread::yield();
  };
  const Thread platform = Thread::of_platform().start(body);
  const Thread light = Thread::start_virtual_thread(body);
  const std::vector<Thread> all = Thread::all();
  for (const Thread& each : {platform, light, Thread::current()}) {
    CHECK(std::find(all.begin(), all.end(), each) != all.end());
  }
  CHECK(light.is_virtual());
  CHECK(Thread::holds_lock(monitor));
  while (!go) {
    Thread::on_spin_wait();
    go = true;
  }
  platform.join();
  light.join();
  CHECK(holders == 0);
  const std::vector<Thread> left = Thread::all();
  CHECK(std::find(left.begin(), left.end(), light) == left.end());
}
