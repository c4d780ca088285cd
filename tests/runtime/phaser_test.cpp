#include "thread_record.hpp"

#include <creel/runtime/fork_join_pool.hpp>
#include <creel/runtime/phaser.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using creel::Phaser;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;

TEST_CASE("phaser: counts, phases, and the end when nobody is registered any more") {
  Phaser phaser{1, "stages"};
  CHECK(phaser.phase() == 0);
  CHECK(phaser.register_party() == 0);
  CHECK(phaser.bulk_register(2) == 0);
  CHECK(phaser.registered_parties() == 4);
  CHECK(phaser.arrive() == 0);
  CHECK(phaser.arrive_and_deregister() == 0);
  CHECK(phaser.registered_parties() == 3);
  CHECK(phaser.arrived_parties() == 1);
  CHECK(phaser.unarrived_parties() == 2);
  CHECK(phaser.to_string() == "creel::Phaser \"stages\" [phase 0, 3 parties, 1 arrived]");
  CHECK(phaser.arrive() == 0);
  CHECK(phaser.arrive() == 0);
  CHECK(phaser.phase() == 1);
  CHECK(phaser.unarrived_parties() == 3);
  CHECK(phaser.await_advance(0) == 1);  // long over
  CHECK(phaser.await_advance(-7) == -7);
  for (int i = 0; i < 3; ++i) CHECK(phaser.arrive_and_deregister() == 1);
  CHECK(phaser.is_terminated());
  CHECK(phaser.phase() < 0);
  CHECK(phaser.register_party() < 0);
  CHECK(phaser.arrive() < 0);
  CHECK(phaser.arrive_and_await_advance() < 0);
  CHECK(phaser.await_advance(2) < 0);
}

TEST_CASE("phaser: parties that were not registered and too many of them are errors") {
  Phaser empty;
  CHECK_THROWS_AS(empty.arrive(), creel::Error);
  CHECK_THROWS_AS(empty.arrive_and_deregister(), creel::Error);
  CHECK_THROWS_AS(Phaser(65536), creel::Error);
  Phaser full{65535};
  CHECK_THROWS_AS(full.register_party(), creel::Error);
  CHECK(full.registered_parties() == 65535);
  CHECK(full.bulk_register(0) == 0);
}

TEST_CASE("phaser: waiting ends with the phase, by interrupt or deadline where it says so") {
  Phaser phaser{2};
  std::atomic<int> phase_seen{0};
  std::atomic<bool> kept{false};
  Thread stubborn = Thread::of_virtual().start([&] {
    phase_seen = phaser.arrive_and_await_advance();
    kept = Thread::interrupted();
  });
  Thread interruptible = Thread::of_platform().start(
      [&] { CHECK_THROWS_AS(phaser.await_advance_interruptibly(0), creel::InterruptedError); });
  await_state(stubborn, ThreadState::Waiting);
  await_state(interruptible, ThreadState::Waiting);
  CHECK(std::string(interruptible.record()->park_site.type.load()) == "creel::Phaser");
  interruptible.interrupt();
  CHECK(interruptible.join(20s));
  stubborn.interrupt();
  CHECK_FALSE(stubborn.join(5ms));
  CHECK_THROWS_AS(phaser.await_advance_interruptibly(0, 5ms), creel::TimeoutError);
  phaser.arrive();
  CHECK(stubborn.join(20s));
  CHECK(phase_seen == 1);
  CHECK(kept);
  CHECK(phaser.await_advance_interruptibly(0, 0ms) == 1);
}

TEST_CASE("phaser: on_advance decides, before anybody goes on, and may fail") {
  struct Twice : Phaser {
    using Phaser::Phaser;
    bool on_advance(std::int32_t phase, std::uint32_t registered) override {
      if (fail) throw std::runtime_error("no");
      CHECK(registered == 1);
      ++runs;
      return phase >= 1;
    }
    int runs = 0;
    bool fail = false;
  };
  Twice phaser{1};
  CHECK(phaser.arrive_and_await_advance() == 1);
  CHECK(phaser.arrive_and_await_advance() < 0);
  CHECK(phaser.runs == 2);
  Twice failing{1};
  failing.fail = true;
  CHECK_THROWS_WITH_AS(failing.arrive(), "no", std::runtime_error);
  CHECK(failing.phase() == 0);
  failing.force_termination();
  CHECK(failing.is_terminated());
}

TEST_CASE("phaser: force_termination ends all waits, in the whole tier") {
  Phaser root{0};
  Phaser child{root, 2};
  CHECK(child.parent() == &root);
  CHECK(&child.root() == &root);
  CHECK(root.registered_parties() == 1);
  std::vector<Thread> threads{Thread::of_platform().start([&] { CHECK(child.await_advance(0) < 0); }),
                              Thread::of_virtual().start([&] { CHECK(root.await_advance(0) < 0); })};
  for (const Thread& thread : threads) await_state(thread, ThreadState::Waiting);
  child.force_termination();
  for (const Thread& thread : threads) CHECK(thread.join(20s));
  CHECK(root.is_terminated());
  CHECK(child.arrive() < 0);
  CHECK(child.registered_parties() == 2);
}

TEST_CASE("phaser: a child is one party of its parent while it has parties") {
  Phaser root{1};
  Phaser child{root};
  CHECK(root.registered_parties() == 1);
  CHECK(child.register_party() == 0);
  CHECK(child.register_party() == 0);
  CHECK(root.registered_parties() == 2);
  CHECK(root.arrive() == 0);
  CHECK(child.arrive() == 0);
  CHECK(root.phase() == 0);
  CHECK(child.arrive() == 0);
  CHECK(child.phase() == 1);
  CHECK(child.unarrived_parties() == 2);
  CHECK(child.arrive_and_deregister() == 1);
  CHECK(root.arrive() == 1);
  CHECK(child.arrive_and_deregister() == 1);  // the last: leaves the parent, and ends the phase
  CHECK(root.registered_parties() == 1);
  CHECK(root.phase() == 2);
  CHECK_FALSE(child.is_terminated());
  CHECK(root.arrive() == 2);
  CHECK(child.register_party() == 3);  // comes back at the phase of now
  CHECK(child.unarrived_parties() == 1);
  CHECK(root.registered_parties() == 2);
}

TEST_CASE("phaser: all threads of two tiers see each other's work of the phase before") {
  constexpr int kThreads = 8;
  constexpr int kPhases = 400;
  Phaser root;
  std::vector<std::unique_ptr<Phaser>> children;
  for (int c = 0; c < 3; ++c) children.push_back(std::make_unique<Phaser>(root));
  long work[2][kThreads] = {};  // plain: written in one phase, read in the next
  std::atomic<bool> stale{false};
  std::vector<Thread> threads;
  for (int t = 0; t < kThreads; ++t) children[static_cast<std::size_t>(t % 3)]->register_party();
  for (int t = 0; t < kThreads; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&, t] {
      Phaser& mine = *children[static_cast<std::size_t>(t % 3)];
      for (int phase = 0; phase < kPhases; ++phase) {
        work[phase % 2][t] = phase;
        if (mine.arrive_and_await_advance() != phase + 1) stale = true;
        for (const long other : work[phase % 2]) {
          if (other != phase) stale = true;
        }
      }
      mine.arrive_and_deregister();
    }));
  }
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK_FALSE(stale);
  CHECK(root.is_terminated());
}

TEST_CASE("phaser: stress: parties come and go in a tier") {
  Phaser root{1};
  Phaser child{root};
  std::vector<Thread> threads;
  for (int t = 0; t < 6; ++t) {
    auto builder = t % 2 == 0 ? Thread::of_platform() : Thread::of_virtual();
    threads.push_back(builder.start([&] {
      for (int i = 0; i < 400; ++i) {
        const std::int32_t phase = child.register_party();
        if (i % 3 == 0) child.arrive_and_await_advance();
        child.arrive_and_deregister();
        if (child.phase() < phase) FAIL("a phase went back");
      }
    }));
  }
  for (const Thread& thread : threads) {
    while (!thread.join(0ms)) root.arrive_and_await_advance();
  }
  CHECK(child.registered_parties() == 0);
  CHECK(root.registered_parties() == 1);
}

TEST_CASE("phaser: a phase that is over is told also to a thread that was interrupted, which stays so") {
  Phaser phaser{1};
  phaser.arrive();
  Thread::current().interrupt();
  CHECK(phaser.await_advance_interruptibly(0) == 1);
  CHECK(Thread::interrupted());
  CHECK(phaser.await_advance_interruptibly(-3) == -3);
  Thread::current().interrupt();
  CHECK_THROWS_AS(phaser.await_advance_interruptibly(1), creel::InterruptedError);
  CHECK(phaser.phase() == 1);  // an interrupt does not change it
  CHECK(phaser.unarrived_parties() == 1);
}

TEST_CASE("phaser: a worker of a ForkJoinPool that waits lets another one bring the party that is missing") {
  creel::ForkJoinPool pool{1};
  Phaser phaser{2};
  const auto waits = pool.submit([&] {
    const auto arrives = pool.submit([&] { return phaser.arrive(); });
    return phaser.arrive_and_await_advance();
  });
  CHECK(waits.get(20s) == 1);
}
