#include "creel_test/both_kinds.hpp"
#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/semaphore.hpp>
#include <creel/runtime/stop_interrupt.hpp>
#include <creel/runtime/thread.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <stop_token>
#include <thread>

using namespace std::chrono_literals;
using creel::StopInterrupt;
using creel::Thread;
using creel::ThreadState;
using creel_test::eventually;
using creel_test::on_both_kinds;

TEST_CASE("a request to stop ends whatever the thread waits in") {
  creel::ArrayBlockingQueue<int> queue{1};
  creel::Semaphore permits{0};
  const std::function<void()> waits[] = {
      [&] { queue.take(); },
      [&] { permits.acquire(); },
      [&] { Thread::sleep(creel::Deadline::never()); },
      [] { Thread::sleep(1h); },
  };
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    for (const auto& wait : waits) {
      std::stop_source source;
      std::atomic<bool> interrupted{false};
      Thread thread = builder.start([&] {
        {
          const StopInterrupt interrupt{source.get_token()};
          try {
            wait();
          } catch (const creel::InterruptedError&) {
            interrupted = true;
          }
        }
        CHECK_FALSE(Thread::interrupted());
      });
      REQUIRE(eventually([&] {
        const ThreadState state = thread.state();
        return state == ThreadState::Waiting || state == ThreadState::TimedWaiting;
      }));
      source.request_stop();
      CHECK(thread.join(20s));
      CHECK(interrupted);
    }
  }
}

TEST_CASE("a stop that was requested before interrupts at once; one that nobody takes is taken back") {
  on_both_kinds([] {
    std::stop_source source;
    source.request_stop();
    {
      const StopInterrupt interrupt{source.get_token()};
      CHECK(Thread::current().is_interrupted());
    }
    CHECK_FALSE(Thread::current().is_interrupted());
    {
      const StopInterrupt interrupt{source.get_token()};
      CHECK(Thread::interrupted());
      CHECK_FALSE(Thread::interrupted());  // once
    }
    {
      const StopInterrupt none{std::stop_token{}};
      CHECK_FALSE(Thread::current().is_interrupted());
    }
  });
}

TEST_CASE("after its end no request interrupts") {
  std::stop_source source;
  { const StopInterrupt interrupt{source.get_token()}; }
  source.request_stop();
  CHECK_FALSE(Thread::current().is_interrupted());
}

TEST_CASE("Thread::interrupt is not taken back with it, whichever comes first") {
  on_both_kinds([] {
    for (const bool interrupt_first : {true, false}) {
      std::stop_source source;
      {
        const StopInterrupt interrupt{source.get_token()};
        if (interrupt_first) Thread::current().interrupt();
        source.request_stop();
        if (!interrupt_first) Thread::current().interrupt();
      }
      CHECK(Thread::interrupted());
      CHECK_FALSE(Thread::interrupted());
    }
  });
}

TEST_CASE("a wait that is not to be interrupted gives the request back as what it was") {
  creel::Monitor monitor{"held"};
  std::stop_source source;
  std::atomic<bool> left{false};
  monitor.lock();
  Thread thread = Thread::of_virtual().start([&] {
    {
      const StopInterrupt interrupt{source.get_token()};
      monitor.lock();
      CHECK(Thread::current().is_interrupted());
      monitor.unlock();
    }
    left = !Thread::current().is_interrupted();
  });
  REQUIRE(eventually([&] { return thread.state() == ThreadState::Blocked; }));
  source.request_stop();
  monitor.unlock();
  CHECK(thread.join(20s));
  CHECK(left);
}

TEST_CASE("they nest: the inner one's end keeps what the outer one's token asked for") {
  on_both_kinds([] {
    std::stop_source outer_source, inner_source;
    {
      const StopInterrupt outer{outer_source.get_token()};
      {
        const StopInterrupt inner{inner_source.get_token()};
        inner_source.request_stop();
      }
      CHECK_FALSE(Thread::current().is_interrupted());
      {
        const StopInterrupt inner{inner_source.get_token()};
        outer_source.request_stop();
      }
      CHECK(Thread::current().is_interrupted());
    }
    CHECK_FALSE(Thread::current().is_interrupted());
  });
}

TEST_CASE("a request that races with the end is either seen or gone") {
  const int rounds = creel_test::kThreadSanitizer ? 500 : 5'000;
  int seen = 0;
  for (int i = 0; i < rounds; ++i) {
    std::stop_source source;
    std::atomic<bool> go{false};
    std::jthread requester([&, i] {
      while (!go) std::this_thread::yield();
      for (int spin = 0; spin < i % 200; ++spin) Thread::on_spin_wait();
      source.request_stop();
    });
    {
      const StopInterrupt interrupt{source.get_token()};
      go = true;
      for (int spin = 0; spin < 100; ++spin) Thread::on_spin_wait();
      if (i % 2 == 0 && Thread::interrupted()) ++seen;
    }
    REQUIRE_FALSE(Thread::current().is_interrupted());
    requester.join();
    REQUIRE_FALSE(Thread::current().is_interrupted());
  }
  MESSAGE(seen << " of " << rounds / 2 << " were seen");
}
