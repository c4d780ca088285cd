#include <creel/comm/group.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <creel_test/multi_process.hpp>
#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace creel::comm;
using namespace std::chrono_literals;
using creel_test::RankOutcome;
using creel_test::RankProcesses;

namespace {

// Sums 1.2 MiB for ever: a gradient bucket of a training that does not end.
std::string train_for_ever(World& world, int rank) {
  Group group = Group::join(world, rank);
  std::vector<float> gradient(314'572, 1.0f);
  for (;;) group.all_reduce({gradient.data(), gradient.size(), DType::F32}, ReduceOp::Average, "gradients");
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a killed rank: the others end within a second and name it" * doctest::timeout(300)) {
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 20; ++round) {
    const int ranks = 2 + round % 3;
    World world = World::create(ranks);
    RankProcesses processes(world, train_for_ever);
    // Somewhere in the course of it: after a random number of collectives, in the middle of whichever it is
    // in.
    const std::uint64_t calls = 1 + random() % 50;
    REQUIRE(creel_test::eventually([&] { return world.status(0).sequence >= calls; }, 60s));
    const int victim = static_cast<int>(random() % static_cast<unsigned>(ranks));
    const auto killed = std::chrono::steady_clock::now();
    processes.kill(victim, SIGKILL);
    const std::vector<RankOutcome> outcomes = processes.wait();
    for (int rank = 0; rank < ranks; ++rank) {
      const RankOutcome& outcome = outcomes[static_cast<std::size_t>(rank)];
      if (rank == victim) continue;
      CHECK(outcome.exit_code == 1);
      CHECK(outcome.ended - killed < 1s);
      CHECK_MESSAGE(outcome.message.starts_with("rank " + std::to_string(rank) + ": all_reduce #"),
                    outcome.message);
      CHECK_MESSAGE(outcome.message.ends_with(" (1.2 MiB): rank " + std::to_string(victim) +
                                              " was lost: killed by signal 9"),
                    outcome.message);
      // What it was waiting for is still to be read when it has gone.
      CHECK_MESSAGE(contains(world.status(rank).doing, "1.2 MiB"), world.status(rank).doing);
    }
  }
}

TEST_CASE("a rank that does not come is named after the deadline, with what it is in instead") {
  World world = World::create(3);
  RankProcesses processes(world, [](World& inherited, int rank) -> std::string {
    Group group = Group::join(inherited, rank, {.deadline = 300ms});
    group.barrier();
    if (rank == 2) {
      // As a rank that is busy elsewhere: it ends when the others have given it up.
      creel_test::eventually([&] { return inherited.aborted().has_value(); });
    }
    float value = 1;
    group.all_reduce({&value, 1, DType::F32}, ReduceOp::Sum);
    return "done";
  });
  const std::vector<RankOutcome> outcomes = processes.wait();
  for (int rank = 0; rank < 3; ++rank) CHECK(outcomes[static_cast<std::size_t>(rank)].exit_code == 1);
  // One of the two waiters gave it up first; the other may have heard so, or come to it by itself.
  const std::string& one = outcomes[0].message;
  const std::string& two = outcomes[1].message;
  CHECK_MESSAGE((contains(one, "rank 2 has not entered within 0.3 s; its process ") ||
                 contains(two, "rank 2 has not entered within 0.3 s; its process ")),
                one << " | " << two);
  CHECK_MESSAGE(contains(one, "after barrier #1"), one);
  CHECK_MESSAGE(contains(outcomes[2].message, "the other ranks gave this one up"), outcomes[2].message);
  CHECK(world.aborted()->rank == 2);
}

TEST_CASE("a stopped rank is named, also by those who wait for it through others" * doctest::timeout(60)) {
  World world = World::create(4);
  RankProcesses processes(world, [](World& inherited, int rank) -> std::string {
    Group group = Group::join(inherited, rank, {.all_reduce = "ring", .deadline = 500ms});
    std::vector<float> data(10'000, 1.0f);
    for (;;) group.all_reduce({data.data(), data.size(), DType::F32}, ReduceOp::Sum);
  });
  REQUIRE(creel_test::eventually([&] { return world.status(0).sequence > 10; }));
  processes.kill(2, SIGSTOP);
  REQUIRE(creel_test::eventually([&] { return world.aborted().has_value(); }));
  CHECK(world.aborted()->rank == 2);
  CHECK_MESSAGE(contains(world.aborted()->reason, "is stopped"), world.aborted()->reason);
  processes.kill(2, SIGCONT);
  for (const RankOutcome& outcome : processes.wait())
    CHECK_MESSAGE(contains(outcome.message, "rank 2"), outcome.message);
}

TEST_CASE("while a rank waits, its status says for whom") {
  World world = World::create(2);
  RankProcesses processes(world, [](World& inherited, int rank) -> std::string {
    Group group = Group::join(inherited, rank);
    std::vector<float> data(314'572, 1.0f);
    if (rank == 1) {
      creel_test::eventually([&] { return inherited.stop_requested() != 0; });
    }
    group.all_reduce({data.data(), data.size(), DType::F32}, ReduceOp::Sum, "gradients 3");
    return "done";
  });
  CHECK(creel_test::eventually(
      [&] { return world.status(0).doing == "all_reduce #1, 1.2 MiB, waiting for rank 1 (gradients 3)"; }));
  CHECK(world.status(0).waiting_for == 1);
  CHECK(world.status(1).doing.empty());
  world.request_stop(SIGTERM);
  for (const RankOutcome& outcome : processes.wait()) CHECK_MESSAGE(outcome.exit_code == 0, outcome.message);
  CHECK(world.status(0).doing.empty());
}

TEST_CASE("a thread dump shows the wait, and the collective as the thread's work") {
  World world = World::create(2);
  creel::Thread waiter = creel::Thread::of_platform().name("step-0").start([&] {
    Group group = Group::join(world, 0);
    group.barrier();
  });
  CHECK(creel_test::eventually([] {
    const std::string text = creel::ThreadDump::take().to_text();
    const std::size_t thread = text.find("\"step-0\"");
    return thread != std::string::npos &&
           text.find("barrier #1, waiting for rank 1", thread) != std::string::npos &&
           text.find("creel::comm::Group", thread) != std::string::npos;
  }));
  Group::join(world, 1).barrier();
  CHECK(waiter.join(10s));
}

TEST_CASE("ranks that call different things are told which") {
  struct Mismatch {
    const char* expected;
    void (*call)(Group& group, float* data);
  };
  const Mismatch mismatches[] = {
      {"rank 1 in broadcast #2 of 32 B, f32 from rank 1",
       [](Group& group, float* data) {
         group.broadcast({data, 8, DType::F32}, 1);
       }},
      {"rank 1 in barrier #2", [](Group& group, float*) { group.barrier(); }},
      {"rank 1 in all_reduce #2 of 16 B, f32 sum",
       [](Group& group, float* data) {
         group.all_reduce({data, 4, DType::F32}, ReduceOp::Sum);
       }},
      {"rank 1 in all_reduce #2 of 32 B, i32 sum",
       [](Group& group, float* data) {
         group.all_reduce({data, 8, DType::I32}, ReduceOp::Sum);
       }},
      {"rank 1 in all_reduce #2 of 32 B, f32 max",
       [](Group& group, float* data) {
         group.all_reduce({data, 8, DType::F32}, ReduceOp::Max);
       }},
      {"rank 1 in broadcast #2 of 32 B, f32 from rank 0",
       [](Group& group, float* data) {
         group.broadcast({data, 8, DType::F32}, 0);
       }},
  };
  for (const Mismatch& mismatch : mismatches) {
    World world = World::create(2);
    RankProcesses processes(world, [&](World& inherited, int rank) -> std::string {
      Group group = Group::join(inherited, rank);
      group.barrier();
      float data[8] = {};
      if (rank == 0) {
        group.all_reduce({data, 8, DType::F32}, ReduceOp::Sum);
      } else {
        mismatch.call(group, data);
        group.barrier();
      }
      return "done";
    });
    const std::vector<RankOutcome> outcomes = processes.wait();
    const std::string both = outcomes[0].message + " | " + outcomes[1].message;
    CHECK(outcomes[0].exit_code == 1);
    CHECK_MESSAGE(
        (contains(both, mismatch.expected) || contains(both, std::string(mismatch.expected).insert(5, ""))),
        both);
    CHECK_MESSAGE(contains(both, "in all_reduce #2 of 32 B, f32 sum"), both);
  }
}

TEST_CASE("two ranks that wait for one another in different calls are told at once") {
  World world = World::create(2);
  RankProcesses processes(world, [](World& inherited, int rank) -> std::string {
    Group group = Group::join(inherited, rank);
    float data[8] = {};
    group.broadcast({data, 8, DType::F32}, 1 - rank);  // no message will come: only what they publish tells
    return "done";
  });
  const std::vector<RankOutcome> outcomes = processes.wait(10s);
  const std::string both = outcomes[0].message + " | " + outcomes[1].message;
  CHECK_MESSAGE(contains(both, "in broadcast #1 of 32 B, f32 from rank 0"), both);
  CHECK_MESSAGE(contains(both, "in broadcast #1 of 32 B, f32 from rank 1"), both);
}

TEST_CASE("ranks with different algorithms are told so") {
  World world = World::create(2);
  RankProcesses processes(world, [](World& inherited, int rank) -> std::string {
    Group group = Group::join(inherited, rank, {.all_reduce = rank == 0 ? "ring" : "direct"});
    std::vector<float> data(1000, 1.0f);
    group.all_reduce({data.data(), data.size(), DType::F32}, ReduceOp::Sum);
    return "done";
  });
  const std::vector<RankOutcome> outcomes = processes.wait();
  CHECK_MESSAGE(contains(outcomes[0].message + outcomes[1].message, "do all ranks use the same algorithm?"),
                outcomes[0].message);
}

TEST_CASE("interrupt ends a wait, and the group with it") {
  World world = World::create(2);
  std::string first;
  std::string second;
  creel::Thread waiter = creel::Thread::of_platform().name("rank-0").start([&] {
    Group group = Group::join(world, 0);
    try {
      group.barrier();
    } catch (const creel::InterruptedError& error) {
      first = error.what();
    }
    try {
      group.barrier();
    } catch (const creel::CommError& error) {
      second = error.what();
    }
  });
  REQUIRE(creel_test::eventually([&] { return world.status(0).waiting_for == 1; }));
  waiter.interrupt();
  waiter.join();
  CHECK(first == "rank 0: barrier #1: interrupted");
  CHECK(second == "rank 0: barrier #1: interrupted");

  Group other = Group::join(world, 1);
  try {
    other.barrier();
    FAIL("the group has ended");
  } catch (const creel::CommError& error) {
    CHECK(error.peer() == 0);
    CHECK(error.rank() == 1);
    CHECK(error.operation() == "barrier #1");
    CHECK(std::string(error.what()) == "rank 1: barrier #1: rank 0 was lost: was interrupted in barrier #1");
  }
}
