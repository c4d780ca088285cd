#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/semaphore.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <vector>

// Litmus tests of docs/memory_model.md: plain variables, passed on by one edge each. A missing edge is a data
// race that ThreadSanitizer reports in every run; without it a stale value shows by chance.

using creel::Thread;

namespace {

constexpr int kRounds = 500;

template <typename Send, typename Receive>
void pass_message(Send send, Receive receive) {
  for (int round = 0; round < kRounds; ++round) {
    int message = 0;
    Thread sender = Thread::of_platform().start([&] {
      message = round + 1;
      send();
    });
    receive(sender);
    CHECK(message == round + 1);
    sender.join();
  }
}

}  // namespace

TEST_CASE("join: all that the thread did") {
  pass_message([] {}, [](const Thread& sender) { sender.join(); });
}

TEST_CASE("semaphore: release to acquire") {
  creel::Semaphore semaphore{0};
  pass_message([&] { semaphore.release(); }, [&](const Thread&) { semaphore.acquire(); });
}

TEST_CASE("monitor: unlock to lock") {
  creel::Monitor monitor;
  bool sent = false;
  pass_message(
      [&] {
        creel::synchronized(monitor, [&] {
          sent = true;
          monitor.notify_one();
        });
      },
      [&](const Thread&) {
        creel::synchronized(monitor, [&] {
          monitor.wait([&] { return sent; });
          sent = false;
        });
      });
}

TEST_CASE("unpark to the park that it ends") {
  const Thread receiver = Thread::current();
  std::atomic<bool> sent{false};
  pass_message(
      [&] {
        while (receiver.state() != creel::ThreadState::Waiting) Thread::yield();
        sent.store(true, std::memory_order_relaxed);  // orders nothing: the permit does
        creel::LockSupport::unpark(receiver);
      },
      [&](const Thread&) {
        while (!sent.load(std::memory_order_relaxed)) creel::LockSupport::park({});
        sent.store(false, std::memory_order_relaxed);
      });
}

TEST_CASE("interrupt to its being seen") {
  const Thread receiver = Thread::current();
  pass_message([&] { receiver.interrupt(); },
               [&](const Thread&) {
                 while (!Thread::interrupted()) Thread::yield();
               });
  creel::LockSupport::park({}, creel::Deadline::now());  // the last interrupt's permit
}

TEST_CASE("store buffering is forbidden between two sections of one monitor") {
  creel::Monitor monitor;
  for (int round = 0; round < kRounds; ++round) {
    int x = 0, y = 0, seen_x = -1, seen_y = -1;
    Thread a = Thread::of_virtual().start([&] {
      creel::synchronized(monitor, [&] { x = 1; });
      creel::synchronized(monitor, [&] { seen_y = y; });
    });
    Thread b = Thread::of_virtual().start([&] {
      creel::synchronized(monitor, [&] { y = 1; });
      creel::synchronized(monitor, [&] { seen_x = x; });
    });
    a.join();
    b.join();
    CHECK(seen_x + seen_y >= 1);
  }
}
