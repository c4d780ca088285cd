#include "creel_test/both_kinds.hpp"
#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"
#include "thread_record.hpp"

#include <creel/runtime/completable_future.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/scoped_value.hpp>
#include <creel/runtime/task_scope.hpp>
#include <creel/runtime/thread_dump.hpp>
#include <creel/runtime/thread_local.hpp>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using creel::Subtask;
using creel::SubtaskState;
using creel::TaskScope;
using creel::Thread;
using creel::ThreadState;
using creel_test::eventually;
using creel_test::on_both_kinds;
namespace joiners = creel::joiners;

namespace {

std::string what(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& error) {
    return error.what();
  }
}

// Waits until it is interrupted; counts that it was.
struct Interruptions {
  std::atomic<int> waiting{0};
  std::atomic<int> count{0};
  int wait() {
    ++waiting;
    try {
      Thread::sleep(creel::Deadline::never());
    } catch (const creel::InterruptedError&) {
      ++count;
      throw;
    }
    return 0;
  }
};

}  // namespace

TEST_CASE("subtasks of different types, asked after join") {
  on_both_kinds([] {
    TaskScope scope;
    Subtask<std::string> name = scope.fork([] { return std::string("tea"); });
    Subtask<int> price = scope.fork([] { return 3; });
    bool drunk = false;
    Subtask<void> drink = scope.fork([&] { drunk = true; });
    scope.join();
    CHECK(name.get() == "tea");
    CHECK(price.get() == 3);
    CHECK(drink.state() == SubtaskState::Success);
    CHECK_NOTHROW(drink.get());
    CHECK(drunk);
    CHECK_THROWS_AS(price.exception(), creel::Error);
    CHECK_FALSE(scope.is_cancelled());
  });
}

TEST_CASE("all_successful_or_throw returns the values in the order of the forks") {
  TaskScope scope{joiners::all_successful_or_throw<int>()};
  std::vector<Subtask<int>> subtasks;
  creel::CountDownLatch last{1};
  subtasks.push_back(scope.fork([&] {
    last.await();
    return 0;
  }));
  for (int i = 1; i < 9; ++i) subtasks.push_back(scope.fork([i] { return i; }));
  scope.fork([&] {
    last.count_down();
    return 9;
  });
  std::vector<int> expected(10);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(scope.join() == expected);
  CHECK(subtasks[4].get() == 4);
}

TEST_CASE("move-only values are moved to the result") {
  TaskScope scope{joiners::all_successful_or_throw<std::unique_ptr<int>>()};
  auto captured = std::make_unique<int>(5);
  scope.fork([captured = std::move(captured)]() mutable { return std::move(captured); });
  scope.fork([] { return std::make_unique<int>(6); });
  const auto values = scope.join();
  CHECK(*values[0] == 5);
  CHECK(*values[1] == 6);
}

TEST_CASE("a failure interrupts the siblings and is the cause of join's error") {
  on_both_kinds([] {
    Interruptions interruptions;
    {
      TaskScope scope{joiners::all_successful_or_throw<int>(), {.name = "failing"}};
      Subtask<int> first = scope.fork([&] { return interruptions.wait(); });
      Subtask<int> second = scope.fork([&] { return interruptions.wait(); });
      REQUIRE(eventually([&] { return interruptions.waiting == 2; }));
      Subtask<int> failing = scope.fork([]() -> int { throw std::runtime_error("no more tea"); });
      try {
        scope.join();
        FAIL("join() returned");
      } catch (const creel::FailedError& error) {
        CHECK(what(error.cause()) == "no more tea");
        CHECK(std::string(error.what()).find("no more tea") != std::string::npos);
      }
      CHECK(scope.is_cancelled());
      CHECK(failing.state() == SubtaskState::Failed);
      CHECK(what(failing.exception()) == "no more tea");
      CHECK_THROWS_AS(failing.get(), creel::Error);
      CHECK(first.state() == SubtaskState::Unavailable);
      CHECK_THROWS_AS(second.get(), creel::Error);
      CHECK_THROWS_AS(second.exception(), creel::Error);
      CHECK_THROWS_AS(scope.fork([] { return 1; }), creel::Error);
    }
    CHECK(interruptions.count == 2);
  });
}

TEST_CASE("any_successful_or_throw takes the first and interrupts the rest") {
  Interruptions interruptions;
  {
    TaskScope scope{joiners::any_successful_or_throw<int>()};
    for (int i = 0; i < 3; ++i) scope.fork([&] { return interruptions.wait(); });
    scope.fork([]() -> int { throw std::runtime_error("this one does not count"); });
    REQUIRE(eventually([&] { return interruptions.waiting == 3; }));
    scope.fork([] { return 42; });
    CHECK(scope.join() == 42);
  }
  CHECK(interruptions.count == 3);

  TaskScope none{joiners::any_successful_or_throw<int>()};
  none.fork([]() -> int { throw std::runtime_error("first"); });
  try {
    none.join();
    FAIL("join() returned");
  } catch (const creel::FailedError& error) {
    CHECK(what(error.cause()) == "first");
  }
  TaskScope empty{joiners::any_successful_or_throw<int>()};
  CHECK_THROWS_AS(empty.join(), creel::FailedError);
}

TEST_CASE("await_all waits for all, whether they fail or not") {
  TaskScope scope{joiners::await_all()};
  Subtask<void> failing = scope.fork([] { throw std::runtime_error("late"); });
  Subtask<int> good = scope.fork([&] {
    while (failing.state() == SubtaskState::Unavailable) Thread::yield();
    return 1;
  });
  scope.join();
  CHECK(failing.state() == SubtaskState::Failed);
  CHECK(good.get() == 1);
}

TEST_CASE("all_until cancels when its predicate says so") {
  Interruptions interruptions;
  std::vector<Subtask<int>> all;
  {
    std::atomic<int> failures{0};
    TaskScope scope{joiners::all_until<int>([&](const Subtask<int>& subtask) {
      return subtask.state() == SubtaskState::Failed && ++failures == 2;
    })};
    scope.fork([] { return 1; });
    scope.fork([&] { return interruptions.wait(); });
    REQUIRE(eventually([&] { return interruptions.waiting == 1; }));
    for (int i = 0; i < 2; ++i) scope.fork([]() -> int { throw std::runtime_error("bad"); });
    all = scope.join();
  }
  REQUIRE(all.size() == 4);
  CHECK(all[1].state() == SubtaskState::Unavailable);
  CHECK(all[2].state() == SubtaskState::Failed);
  CHECK(all[3].state() == SubtaskState::Failed);
  CHECK(interruptions.count == 1);
}

TEST_CASE("a user's own joiner sees every fork and completion, and decides") {
  struct Sum final : creel::Joiner<int, long> {
    std::atomic<long> sum{0};
    std::atomic<int> completed{0};
    int forked = 0;
    bool on_fork(const Subtask<int>& subtask) override {
      CHECK(subtask.state() == SubtaskState::Unavailable);
      return ++forked > 5;
    }
    bool on_complete(const Subtask<int>& subtask) override {
      ++completed;
      sum += subtask.get();
      return false;
    }
    long result() override { return sum; }
  };
  Sum all;
  {
    TaskScope scope{all};
    for (int i = 1; i <= 4; ++i) scope.fork([i] { return i; });
    scope.fork([] { return short{10}; });  // whatever converts
    CHECK(scope.join() == 20);
    CHECK(all.completed == 5);
  }
  Sum limited;
  TaskScope scope{limited};
  limited.forked = 5;
  bool ran = false;
  Subtask<int> refused = scope.fork([&] {
    ran = true;
    return 1;
  });
  CHECK(scope.is_cancelled());
  CHECK(scope.join() == 0);
  CHECK(refused.state() == SubtaskState::Unavailable);
  CHECK_FALSE(ran);
}

TEST_CASE("the deadline cancels what runs and join throws TimeoutError") {
  on_both_kinds([] {
    Interruptions interruptions;
    {
      TaskScope scope{joiners::await_all(), {.name = "slow", .deadline = 20ms}};
      scope.fork([&] { interruptions.wait(); });
      CHECK_THROWS_AS(scope.join(), creel::TimeoutError);
      CHECK(scope.is_cancelled());
    }
    CHECK(interruptions.count == interruptions.waiting);
  });
  TaskScope late{joiners::await_all(), {.deadline = creel::Deadline::now()}};
  bool ran = false;
  late.fork([&] { ran = true; });  // makes no thread any more
  CHECK_THROWS_AS(late.join(), creel::TimeoutError);
  CHECK_FALSE(ran);
  TaskScope quick{joiners::await_all(), {.deadline = 1h}};
  quick.fork([] {});
  CHECK_NOTHROW(quick.join());
}

TEST_CASE("the deadline interrupts the subtasks while the owner is busy elsewhere, and join still tells it") {
  on_both_kinds([] {
    Interruptions interruptions;
    creel::CountDownLatch never{1};
    TaskScope scope{joiners::await_all(), {.name = "busy", .deadline = 20ms}};
    const Subtask<int> waiting = scope.fork([&] { return interruptions.wait(); });
    std::atomic<bool> sibling_ended{false};
    scope.fork([&] {
      try {
        never.await();
      } catch (const creel::InterruptedError&) {
        sibling_ended = true;
      }
    });
    while (!(interruptions.count == 1 && sibling_ended)) Thread::yield();  // not in fork() nor join()
    CHECK(scope.is_cancelled());
    bool ran = false;
    scope.fork([&] { ran = true; });
    CHECK_THROWS_AS(scope.join(), creel::TimeoutError);
    CHECK(waiting.state() == SubtaskState::Unavailable);
    CHECK_FALSE(ran);
  });
}

TEST_CASE("a deadline that passes after join does not cancel the scope any more") {
  const creel::Deadline deadline{creel::Deadline::Clock::now() + 200ms};
  TaskScope scope{joiners::await_all(), {.deadline = deadline}};
  std::atomic<bool> ran{false};
  scope.fork([&] { ran = true; });
  try {
    scope.join();
  } catch (const creel::TimeoutError&) {
    return;  // a machine this slow shows nothing
  }
  Thread::sleep(deadline);
  // What is due later has its turn after what is due at the deadline: creel has one thread for both.
  creel::CompletableFuture<void> later;
  CHECK_THROWS_AS(later.or_timeout(1ms).join(), creel::CompletionError);
  CHECK(ran);
  CHECK_FALSE(scope.is_cancelled());
}

TEST_CASE("an interrupted owner leaves join; closing interrupts the subtasks") {
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    Interruptions interruptions;
    std::atomic<bool> thrown{false};
    Thread owner = builder.start([&] {
      TaskScope scope{joiners::await_all(), {.name = "patient"}};
      scope.fork([&] { interruptions.wait(); });
      try {
        scope.join();
      } catch (const creel::InterruptedError&) {
        thrown = true;
        CHECK_FALSE(scope.is_cancelled());
      }
    });
    REQUIRE(eventually([&] { return interruptions.waiting == 1 && owner.state() == ThreadState::Waiting; }));
    owner.interrupt();
    CHECK(owner.join(20s));
    CHECK(thrown);
    CHECK(interruptions.count == 1);
  }
}

TEST_CASE("closing waits for subtasks that do not heed the interrupt, and keeps the owner's interrupt") {
  std::atomic<bool> go{false};
  std::atomic<bool> ended{false};
  Thread owner = Thread::of_virtual().start([&] {
    {
      TaskScope scope{joiners::await_all()};
      creel::CountDownLatch begun{1};
      scope.fork([&] {
        begun.count_down();
        while (!go) Thread::yield();
        ended = true;
      });
      begun.await();
      Thread::current().interrupt();
      CHECK_THROWS_AS(scope.join(), creel::InterruptedError);
      Thread::current().interrupt();
    }
    CHECK(ended);
    CHECK(Thread::interrupted());
  });
  REQUIRE(eventually([&] { return owner.state() == ThreadState::Waiting; }));
  CHECK_FALSE(ended);
  go = true;
  CHECK(owner.join(20s));
}

TEST_CASE("an exception that leaves the scope cancels and waits") {
  Interruptions interruptions;
  try {
    TaskScope scope;
    scope.fork([&] { interruptions.wait(); });
    REQUIRE(eventually([&] { return interruptions.waiting == 1; }));
    throw std::runtime_error("out");
  } catch (const std::runtime_error&) {
  }
  CHECK(interruptions.count == 1);
}

TEST_CASE("only the owner forks, joins and closes; join once; no fork after it; the outcome after it") {
  TaskScope scope;
  Subtask<int> subtask = scope.fork([&] {
    CHECK_THROWS_AS(scope.fork([] {}), creel::Error);
    CHECK_THROWS_AS(scope.join(), creel::Error);
    CHECK_THROWS_AS(scope.close(), creel::Error);
    return 1;
  });
  CHECK_THROWS_AS(subtask.get(), creel::Error);
  REQUIRE(eventually([&] { return subtask.state() == SubtaskState::Success; }));
  CHECK_THROWS_AS(subtask.get(), creel::Error);  // even so: join() is what orders it
  Thread::of_virtual().start([&] { CHECK(subtask.get() == 1); }).join();
  scope.join();
  CHECK(subtask.get() == 1);
  CHECK_THROWS_AS(scope.join(), creel::Error);
  CHECK_THROWS_AS(scope.fork([] {}), creel::Error);
  scope.close();
  scope.close();
  CHECK_THROWS_AS(scope.join(), creel::Error);
  CHECK(subtask.get() == 1);
}

TEST_CASE("closing without join after fork is an error, told after it has closed") {
  TaskScope scope;
  bool ran = false;
  scope.fork([&] { ran = true; });
  CHECK_THROWS_WITH_AS(scope.close(), "closing the scope without join() after fork()", creel::Error);
  CHECK_NOTHROW(scope.close());
  TaskScope unused;
  CHECK_NOTHROW(unused.close());
}

TEST_CASE("closing out of order closes the inner scopes first and says so") {
  Interruptions interruptions;
  auto outer = std::make_unique<TaskScope<>>(creel::TaskScopeOptions{.name = "outer"});
  auto inner = std::make_unique<TaskScope<>>(creel::TaskScopeOptions{.name = "inner"});
  inner->fork([&] { interruptions.wait(); });
  REQUIRE(eventually([&] { return interruptions.waiting == 1; }));
  CHECK_THROWS_WITH_AS(outer->close(),
                       "closing the scope \"outer\" before the scopes inside it; those were closed first",
                       creel::Error);
  CHECK(interruptions.count == 1);
  CHECK_THROWS_AS(inner->join(), creel::Error);
  inner.reset();
  outer.reset();
}

TEST_CASE("subtasks see the scoped values bound where the scope was opened") {
  static const creel::ScopedValue<std::string> user{"user"};
  on_both_kinds([] {
    creel::where(user, "alice").run([] {
      TaskScope scope{joiners::all_successful_or_throw<std::string>()};
      scope.fork([] { return user.get(); });
      scope.fork([] {
        return creel::where(user, "bob").call([] {
          TaskScope inner{joiners::any_successful_or_throw<std::string>()};
          inner.fork([] { return user.get(); });
          return inner.join();
        });
      });
      creel::where(user, "eve").run([&] {
        CHECK_THROWS_AS(scope.fork([] { return user.get(); }), creel::Error);
      });
      CHECK(scope.join() == std::vector<std::string>{"alice", "bob"});
    });
  });
}

TEST_CASE("a scope that outlives the call of its bindings is closed with it") {
  static const creel::ScopedValue<int> level{"level"};
  Interruptions interruptions;
  std::unique_ptr<TaskScope<>> scope;
  creel::where(level, 1).run([&] {
    scope = std::make_unique<TaskScope<>>(creel::TaskScopeOptions{.name = "leaving"});
    scope->fork([&] { interruptions.wait(); });
    REQUIRE(eventually([&] { return interruptions.waiting == 1; }));
  });
  CHECK(interruptions.count == 1);
  CHECK_THROWS_AS(scope->fork([] {}), creel::Error);
}

TEST_CASE("after close every thread has ended, thread locals included") {
  struct AtEnd {
    std::atomic<int>* ended = nullptr;
    ~AtEnd() {
      if (ended != nullptr) {
        Thread::yield();
        ++*ended;
      }
    }
    AtEnd() = default;
    explicit AtEnd(std::atomic<int>* counter) : ended(counter) {}
    AtEnd(AtEnd&& other) noexcept : ended(std::exchange(other.ended, nullptr)) {}
  };
  const creel::ThreadLocal<AtEnd> at_end;
  for (const creel::ThreadFactory& factory :
       {Thread::of_platform().factory(), Thread::of_virtual().name("sub-", 0).factory()}) {
    std::atomic<int> ended{0};
    const int count = 100;
    {
      TaskScope scope{joiners::await_all(), {.factory = factory}};
      for (int i = 0; i < count; ++i) scope.fork([&] { at_end.set(AtEnd(&ended)); });
      scope.join();
    }
    CHECK(ended == count);
  }
}

TEST_CASE("a factory that fails fails the fork, and the scope goes on") {
  int calls = 0;
  const creel::ThreadFactory sometimes = [&](std::function<void()> body) -> Thread {
    if (++calls == 1) throw creel::Error("no threads today");
    if (calls == 2) return {};
    return Thread::of_virtual().start(std::move(body));
  };
  TaskScope scope{joiners::await_all_successful_or_throw(), {.factory = sometimes}};
  CHECK_THROWS_WITH_AS(scope.fork([] {}), "no threads today", creel::Error);
  CHECK_THROWS_AS(scope.fork([] {}), creel::RejectedError);
  Subtask<int> third = scope.fork([] { return 3; });
  scope.join();
  CHECK(third.get() == 3);
}

TEST_CASE("dumps show nested scopes as a tree with owners and threads") {
  creel::CountDownLatch inside{1}, dumped{1};
  Thread owner = Thread::of_platform().name("opener").start([&] {
    TaskScope outer{joiners::await_all(),
                    {.name = "page", .factory = Thread::of_virtual().name("part-", 0).factory()}};
    outer.fork([&] {
      TaskScope inner{joiners::await_all(), {.name = "images"}};
      inner.fork([&] {
        inside.count_down();
        dumped.await();
      });
      inner.join();
    });
    outer.join();
  });
  inside.await();
  REQUIRE(eventually([&] { return owner.state() == ThreadState::Waiting; }));
  creel::ThreadDump dump = creel::ThreadDump::take();
  const creel::ThreadInfo* part = dump.find("part-0");
  REQUIRE(eventually([&] {  // part-0 is in join()
    dump = creel::ThreadDump::take();
    part = dump.find("part-0");
    return part != nullptr && part->wait.has_value();
  }));
  const auto find = [&](std::string_view name) {
    for (const creel::ContainerInfo& each : dump.containers()) {
      if (each.name == name) return each;
    }
    return creel::ContainerInfo{};
  };
  const creel::ContainerInfo page = find("page"), images = find("images");
  CHECK(page.parent == 0);
  CHECK(page.owner == owner.id());
  CHECK(images.parent == page.id);
  CHECK(part->container == page.id);
  CHECK(images.owner == part->id);
  CHECK(part->wait->on.type == "creel::TaskScope");
  CHECK(part->wait->on.name == "images");

  const std::string text = dump.to_text();
  const std::string id = std::to_string(part->id);
  CHECK(text.find("Task scopes:\n- scope \"page\" <" + std::to_string(page.id) + ">, opened by \"opener\" #" +
                  std::to_string(owner.id()) + ", 1 thread: \"part-0\" #" + id + "\n  - scope \"images\" <" +
                  std::to_string(images.id) + ">, opened by \"part-0\" #" + id + ", 1 thread: #") !=
        std::string::npos);
  const auto json = nlohmann::json::parse(dump.to_json());
  bool found = false;
  for (const auto& container : json["threadDump"]["threadContainers"]) {
    if (container["container"] != "images/creel::TaskScope@" + std::to_string(images.id)) continue;
    found = true;
    CHECK(container["parent"] == "page/creel::TaskScope@" + std::to_string(page.id));
    CHECK(container["owner"] == id);
    CHECK(container["threads"].size() == 1);
  }
  CHECK(found);
  dumped.count_down();
  owner.join();
  CHECK(creel::ThreadDump::take().to_text().find("Task scopes:") == std::string::npos);
}

TEST_CASE("many subtasks, many failures, many cancellations") {
  const int rounds = creel_test::kThreadSanitizer ? 20 : 200;
  for (int round = 0; round < rounds; ++round) {
    std::atomic<int> running{0};
    {
      TaskScope scope{joiners::any_successful_or_throw<int>()};
      for (int i = 0; i < 50; ++i) {
        scope.fork([&, i] {
          ++running;
          struct Leave {
            std::atomic<int>& count;
            ~Leave() { --count; }
          } leave{running};
          for (int turn = 0; turn < i % 7; ++turn) Thread::yield();
          if (i % 3 == 0) throw std::runtime_error("bad");
          TaskScope inner{joiners::all_successful_or_throw<int>()};
          inner.fork([] { return 1; });
          inner.fork([i] { return i % 5 == 0 ? throw std::runtime_error("inner") : 2; });
          const std::vector<int> values = inner.join();
          return values[0] + values[1];
        });
      }
      CHECK(scope.join() == 3);
    }
    REQUIRE(running == 0);
  }
}

TEST_CASE("a scope that forks without end keeps only what runs") {
  const int count = creel_test::kThreadSanitizer ? 2'000 : 20'000;
  std::atomic<int> done{0};
  TaskScope scope{joiners::await_all()};
  for (int i = 0; i < count; ++i) {
    scope.fork([&] { ++done; });
    while (i - done > 100) Thread::yield();
  }
  scope.join();
  CHECK(done == count);
}
