#include "creel_test/await_state.hpp"
#include "creel_test/sanitizer.hpp"
#include "fiber_programs/fiber_programs.hpp"

#include <creel/runtime/fiber_bridge.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

using namespace std::chrono_literals;
namespace fibers = creel::fibers;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;
using fiber_programs::Lines;

namespace {

// What Boost.Fiber 1.74 says.
const std::map<std::string, Lines> kExpected{
    {"sieve", {"2",  "3",  "5",  "7",  "11", "13", "17", "19", "23", "29",
               "31", "37", "41", "43", "47", "53", "59", "61", "67", "71"}},
    {"producers and consumers", {"1000", "499500"}},
    {"channel states",
     {"empty", "timeout", "success", "success", "success", "full", "timeout", "timeout", "success", "0",
      "closed", "closed", "left 1", "left 2", "closed", "closed", "not permitted", "invalid"}},
    {"phases", {"last came 10 times", "535", "700", "15", "656", "491", "675", "985"}},
    {"futures",
     {"55", "async: from a fiber",
      "broken: The associated promise has been destructed prior to the associated state becoming ready.",
      "not yet", "shared shared", "twice: The state of the promise has already been set.",
      "retrieved: The future has already been retrieved from the promise or packaged_task.",
      "no state: Operation not permitted on an object without an associated state.", "14 valid", "2", "5",
      "9"}},
    {"first of several", {"fast"}},
    {"locks",
     {"not permitted", "would deadlock", "would deadlock", "busy", "again", "timeout", "still held", "4000",
      "timeout", "never"}},
    {"handles",
     {"all different", "joined", "joined", "joined", "joined", "10 seen, 10 ended", "nobody", "itself",
      "not joinable"}},
};

const creel::ContainerInfo* container_of(const creel::ThreadDump& dump, const creel::ThreadInfo& thread) {
  for (const creel::ContainerInfo& container : dump.containers()) {
    if (container.id == thread.container) return &container;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("programs written for Boost.Fiber say on creel's carriers what they say on Boost's scheduler") {
  const fiber_programs::Programs programs = on_creel::all();
  CHECK(programs.size() == kExpected.size());
  for (const auto& [name, program] : programs) {
    INFO(name);
    CHECK(program() == kExpected.at(name));
  }
#ifdef CREEL_TEST_BOOST_FIBER
  for (const auto& [name, program] : on_boost::all()) {
    INFO("Boost.Fiber: " << name);
    CHECK(program() == kExpected.at(name));
  }
#endif
}

TEST_CASE("fibers are virtual threads of a container, and dumps show what they hold and wait for") {
  fibers::mutex held;
  fibers::mutex inner;
  fibers::condition_variable condition;
  fibers::promise<int> promise;
  fibers::future<int> result = promise.get_future();
  fibers::buffered_channel<int> buffered{2};
  fibers::unbuffered_channel<int> unbuffered;
  fibers::barrier barrier{2};
  bool is_ready = false;
  held.lock();
  fibers::fiber locker{[&] { const std::lock_guard guard{held}; }};
  fibers::fiber waiter{[&] {
    std::unique_lock lock{inner};
    condition.wait(lock, [&] { return is_ready; });
  }};
  fibers::fiber getter{[&] { result.get(); }};
  fibers::fiber popper{[&] { buffered.value_pop(); }};
  fibers::fiber pusher{[&] { unbuffered.push(1); }};
  fibers::fiber comer{[&] { barrier.wait(); }};
  const std::map<std::string, fibers::fiber*> waits{{"creel::fibers::mutex", &locker},
                                                    {"creel::fibers::condition_variable", &waiter},
                                                    {"creel::fibers::future", &getter},
                                                    {"creel::ArrayBlockingQueue", &popper},
                                                    {"creel::fibers::unbuffered_channel", &pusher}};
  for (const auto& [type, fiber] : waits) await_state(fiber->thread(), ThreadState::Waiting);
  await_state(comer.thread(), ThreadState::Waiting);

  const creel::ThreadDump dump = creel::ThreadDump::take();
  for (const auto& [type, fiber] : waits) {
    INFO(type);
    const creel::ThreadInfo* info = dump.find(fiber->thread().id());
    REQUIRE(info != nullptr);
    CHECK(info->is_virtual);
    CHECK(info->name.rfind("fiber-", 0) == 0);
    REQUIRE(info->wait);
    CHECK(info->wait->on.type == type);
    const creel::ContainerInfo* container = container_of(dump, *info);
    REQUIRE(container != nullptr);
    CHECK(container->name == "fibers");
  }
  CHECK(dump.find(locker.thread().id())->wait->on.owner == Thread::current().id());

  held.unlock();
  {
    const std::lock_guard guard{inner};
    is_ready = true;
  }
  condition.notify_all();
  promise.set_value(1);
  buffered.push(1);
  CHECK(unbuffered.value_pop() == 1);
  barrier.wait();
  for (const auto& [type, fiber] : waits) fiber->join();
  comer.join();
}

TEST_CASE("interrupt ends the waits of fibers and leaves locks, channels and barriers in order") {
  fibers::mutex mutex;
  fibers::condition_variable condition;
  fibers::buffered_channel<int> channel{2};
  fibers::barrier barrier{2};
  std::atomic<int> interrupted{0};
  const auto interrupt_in = [&](auto wait) {
    fibers::fiber fiber{[&] {
      try {
        wait();
      } catch (const creel::InterruptedError&) {
        ++interrupted;
      }
    }};
    while (fiber.thread().state() != ThreadState::Waiting &&
           fiber.thread().state() != ThreadState::TimedWaiting) {
      Thread::yield();
    }
    fiber.thread().interrupt();
    fiber.join();
  };
  interrupt_in([&] {
    std::unique_lock lock{mutex};
    try {
      condition.wait(lock);
    } catch (const creel::InterruptedError&) {
      CHECK_THROWS_AS(mutex.lock(), fibers::lock_error);  // it is ours again
      throw;
    }
  });
  CHECK(mutex.try_lock());
  mutex.unlock();
  interrupt_in([&] { channel.value_pop(); });
  interrupt_in([&] { barrier.wait(); });
  interrupt_in([] { creel::this_fiber::sleep_for(1h); });
  interrupt_in([] {
    fibers::promise<int> promise;
    promise.get_future().wait();
  });
  CHECK(interrupted == 5);
  std::atomic<int> last{0};
  fibers::fiber one{[&] { last += barrier.wait() ? 1 : 0; }};
  last += barrier.wait() ? 1 : 0;
  one.join();
  CHECK(last == 1);

  mutex.lock();
  std::atomic<bool> kept{false};
  fibers::fiber locker{[&] {
    const std::lock_guard guard{mutex};
    kept = Thread::interrupted();
  }};
  await_state(locker.thread(), ThreadState::Waiting);
  locker.thread().interrupt();
  Thread::sleep(1ms);
  CHECK(locker.thread().is_alive());
  mutex.unlock();
  locker.join();
  CHECK(kept);
}

TEST_CASE("a deadlock between fibers is found, through mutexes and a future") {
  fibers::mutex mutex;
  fibers::promise<fibers::future<int>*> later;
  fibers::future<fibers::future<int>*> other = later.get_future();
  fibers::fiber holder{[&] {
    const std::lock_guard guard{mutex};
    try {
      other.get()->get();
    } catch (const creel::InterruptedError&) {
    }
  }};
  await_state(holder.thread(), ThreadState::Waiting);
  fibers::future<int> result = fibers::async([&] {
    const std::lock_guard guard{mutex};
    return 1;
  });
  later.set_value(&result);
  creel::Deadline limit = 20s;
  std::vector<creel::Deadlock> deadlocks;
  while (deadlocks.empty() && !limit.expired()) {
    deadlocks = creel::ThreadDump::take().deadlocks();
    Thread::yield();
  }
  CHECK(deadlocks.size() == 1);
  holder.thread().interrupt();
  holder.join();
}

TEST_CASE("what leaves a fiber gets to the uncaught-exception handler") {
  std::atomic<bool> told{false};
  const auto before = Thread::default_uncaught_exception_handler();
  Thread::set_default_uncaught_exception_handler([&](const Thread&, std::exception_ptr) { told = true; });
  fibers::fiber{[] { throw 1; }}.join();
  Thread::set_default_uncaught_exception_handler(before);
  CHECK(told);
}

TEST_CASE("fibers by the thousand pass a token on, on all carriers") {
  const int count = creel_test::kThreadSanitizer ? 500 : 20'000;
  std::vector<fibers::promise<int>> tokens(static_cast<std::size_t>(count) + 1);
  std::vector<fibers::fiber> ring;
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
    ring.emplace_back(
        [&tokens, i, in = tokens[i].get_future()]() mutable { tokens[i + 1].set_value(in.get() + 1); });
  }
  tokens.front().set_value(0);
  CHECK(tokens.back().get_future().get() == count);
  for (fibers::fiber& fiber : ring) fiber.join();
}
