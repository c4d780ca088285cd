#include "creel_test/await_state.hpp"
#include "creel_test/both_kinds.hpp"
#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"
#include "creel_test/shared_processes.hpp"

#include <creel/runtime/shared_ring.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <numeric>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::SharedRing;
using creel::SharedSegment;
using creel::Thread;
using creel::ThreadState;
using creel_test::await_state;
using creel_test::eventually;
using creel_test::kForks;
using creel_test::SegmentName;
using creel_test::TestProcess;

namespace {

// Large, so that a process that is killed at random is mostly killed while it copies one.
struct Parcel {
  std::uint64_t sender = 0, number = 0;
  std::array<std::uint64_t, 2046> content{};

  static Parcel of(std::uint64_t sender, std::uint64_t number) {
    Parcel parcel{sender, number, {}};
    parcel.content.fill(sender * 1'000'003 + number);
    return parcel;
  }
  bool is_whole() const {
    return std::all_of(content.begin(), content.end(),
                       [this](std::uint64_t word) { return word == sender * 1'000'003 + number; });
  }
};

}  // namespace

TEST_CASE("a SharedRing is a bounded queue, first in, first out, with an end") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedRing<int> ring{segment, "r", 3};
  auto other_mapping = SharedSegment::open(name.text);
  SharedRing<int> same{*other_mapping, "r", 3};
  CHECK(ring.capacity() == 3);
  CHECK(ring.name() == "r");
  for (int round = 0; round < 5; ++round) {  // around the end of the memory
    for (int i = 0; i < 3; ++i) CHECK(ring.offer(10 * round + i));
    CHECK_FALSE(ring.offer(99));
    CHECK_FALSE(ring.offer(99, 5ms));
    CHECK(same.size() == 3);
    CHECK(ring.peek() == 10 * round);
    CHECK(ring.snapshot() == std::vector<int>{10 * round, 10 * round + 1, 10 * round + 2});
    for (int i = 0; i < 3; ++i) CHECK(same.take() == 10 * round + i);
    CHECK_FALSE(ring.poll());
    CHECK_FALSE(ring.poll(5ms));
  }
  ring.put(1);
  ring.put(2);
  same.close();
  CHECK(ring.is_closed());
  CHECK_FALSE(ring.offer(3));
  CHECK_THROWS_AS(ring.put(3), creel::RejectedError);
  std::vector<int> rest;
  for (const int element : ring) rest.push_back(element);
  CHECK(rest == std::vector<int>{1, 2});
  CHECK_FALSE(ring.take());
}

TEST_CASE("a SharedRing's name has one capacity and one type of elements; destroy makes room") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  { SharedRing<int> ring{segment, "r", 3}; }
  CHECK_THROWS_WITH_AS(SharedRing<int>(segment, "r", 4), doctest::Contains("has capacity 3, not 4"),
                       creel::Error);
  CHECK_THROWS_WITH_AS(SharedRing<float>(segment, "r", 3), doctest::Contains("another type"), creel::Error);
  CHECK_THROWS_WITH_AS(SharedRing<int>(segment, "none", 0), doctest::Contains("capacity"), creel::Error);
  CHECK_THROWS_WITH_AS(SharedRing<int>(segment, "large", 1 << 20), doctest::Contains("create it larger"),
                       creel::Error);
  CHECK(SharedRing<int>::destroy(segment, "r"));
  CHECK_FALSE(SharedRing<int>::destroy(segment, "r"));
  const std::size_t before = segment.untouched();
  SharedRing<float> ring{segment, "r", 3};
  CHECK(segment.untouched() == before);
  ring.put(1.5F);
  CHECK(ring.take() == 1.5F);
}

TEST_CASE("elements are removed from within a SharedRing, in order, and room is made") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedRing<int> ring{segment, "r", 8};
  for (int shift = 0; shift < 8; ++shift) {
    for (int i = 0; i < 8; ++i) ring.put(i);
    CHECK(ring.remove_if([](int i) { return i % 3 == 0; }) == 3);
    CHECK(ring.snapshot() == std::vector<int>{1, 2, 4, 5, 7});
    CHECK(ring.remove(4));
    CHECK_FALSE(ring.remove(4));
    CHECK(ring.snapshot() == std::vector<int>{1, 2, 5, 7});
    CHECK_THROWS_AS(ring.remove_if([](int i) { return i == 7 ? throw 1 : true; }), int);
    CHECK(ring.size() == 4);
    ring.put(8);
    CHECK(ring.contains(8));
    ring.clear();
    CHECK(ring.empty());
    ring.put(0);  // begin elsewhere the next time
    CHECK(ring.take() == 0);
  }
  for (int i = 0; i < 8; ++i) ring.put(i);
  const Thread waiter = Thread::of_platform().start([&] { ring.put(8); });
  await_state(waiter, ThreadState::Waiting);
  CHECK(ring.remove(5));
  CHECK(waiter.join(30s));
  CHECK(ring.snapshot() == std::vector<int>{0, 1, 2, 3, 4, 6, 7, 8});
}

TEST_CASE("waiting at a SharedRing ends by an element, room, close, deadline and interrupt") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedRing<int> empty{segment, "e", 1};
  SharedRing<int> full{segment, "f", 1};
  full.put(0);
  int round = 0;
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    std::atomic<int> right{0};
    const Thread taker = builder.start([&] { right += empty.take() == 7 ? 1 : 0; });
    await_state(taker, ThreadState::Waiting);
    empty.put(7);
    CHECK(taker.join(30s));
    const Thread putter = builder.start([&] {
      full.put(1);
      ++right;
    });
    await_state(putter, ThreadState::Waiting);
    CHECK(full.take() == round++);
    CHECK(putter.join(30s));
    CHECK(right == 2);
    for (int which = 0; which < 2; ++which) {
      const Thread victim = builder.start([&] {
        try {
          which == 0 ? static_cast<void>(empty.poll(60s)) : static_cast<void>(full.offer(1, 60s));
        } catch (const creel::InterruptedError&) {
          ++right;
        }
      });
      await_state(victim, ThreadState::TimedWaiting);
      victim.interrupt();
      CHECK(victim.join(30s));
    }
    CHECK(right == 4);
  }
  const Thread taker = Thread::of_virtual().start([&] { CHECK_FALSE(empty.take()); });
  const Thread putter =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(full.put(1), creel::RejectedError); });
  await_state(taker, ThreadState::Waiting);
  await_state(putter, ThreadState::Waiting);
  const std::string dump = creel::ThreadDump::take().to_text();
  CHECK(dump.find("(a creel::SharedRing \"e, empty\")") != std::string::npos);
  CHECK(dump.find("(a creel::SharedRing \"f, full\")") != std::string::npos);
  empty.close();
  full.close();
  CHECK(taker.join(30s));
  CHECK(putter.join(30s));
}

TEST_CASE("threads of both kinds pass elements through a SharedRing, each once") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedRing<std::array<long, 3>> ring{segment, "r", 4};
  constexpr long kEach = creel_test::kThreadSanitizer ? 500 : 5000;
  std::vector<Thread> producers, consumers;
  std::atomic<long> sum{0}, count{0};
  for (int i = 0; i < 2; ++i) {
    const Thread::Builder builder = i == 0 ? Thread::of_platform() : Thread::of_virtual();
    producers.push_back(Thread::Builder(builder).start([&] {
      for (long n = 0; n < kEach; ++n) ring.put({n, n, n});
    }));
    consumers.push_back(Thread::Builder(builder).start([&] {
      for (const auto& [a, b, c] : ring) {
        sum += a == b && b == c ? a : -kEach * kEach;
        ++count;
      }
    }));
  }
  for (const Thread& thread : producers) CHECK(thread.join(60s));
  ring.close();
  for (const Thread& thread : consumers) CHECK(thread.join(60s));
  CHECK(count == 2 * kEach);
  CHECK(sum == kEach * (kEach - 1));
}

TEST_CASE("virtual threads by the thousand wait at a SharedRing for one element each") {
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  SharedRing<int> ring{segment, "r", 16};
  constexpr int kCrowd = creel_test::kThreadSanitizer ? 200 : 2000;
  std::atomic<long> sum{0};
  std::vector<Thread> threads;
  for (int i = 0; i < kCrowd; ++i)
    threads.push_back(Thread::start_virtual_thread([&] { sum += ring.take().value_or(-kCrowd); }));
  for (const Thread& thread : threads) await_state(thread, ThreadState::Waiting);
  for (int i = 0; i < kCrowd; ++i) ring.put(i);
  for (const Thread& thread : threads) CHECK(thread.join(60s));
  CHECK(sum == long{kCrowd} * (kCrowd - 1) / 2);
}

TEST_CASE("processes pass elements through a SharedRing in order, until it is closed") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 20);
  SharedRing<Parcel> ring{segment, "r", 8};
  constexpr std::uint64_t kEach = 3000;
  std::vector<TestProcess> producers, consumers;
  auto& received = segment.construct<std::atomic<std::uint64_t>>("received", 0U);
  for (std::uint64_t p = 1; p <= 2; ++p) {
    producers.emplace_back([&, p] {
      for (std::uint64_t n = 1; n <= kEach; ++n) ring.put(Parcel::of(p, n));
    });
    consumers.emplace_back([&] {
      std::array<std::uint64_t, 3> last{};
      for (const Parcel& parcel : ring) {
        if (!parcel.is_whole() || parcel.number <= last[parcel.sender]) throw std::runtime_error("disorder");
        last[parcel.sender] = parcel.number;
        ++received;
      }
    });
  }
  for (TestProcess& process : producers) CHECK(process.succeeded());
  ring.close();
  for (TestProcess& process : consumers) CHECK(process.succeeded());
  CHECK(received == 2 * kEach);
}

TEST_CASE("a process killed inside a SharedRing leaves it working and whole") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 1 << 16);
  auto& stage = segment.construct<std::atomic<int>>("stage", 0);
  SharedRing<int> ring{segment, "r", 4};
  ring.put(1);
  ring.put(2);
  ring.put(3);
  const Thread reader = Thread::of_virtual().unstarted([&] { CHECK(ring.take() == 1); });
  SUBCASE("looking") {
    TestProcess victim([&] {
      ring.for_each([&](int) {
        stage = 1;
        creel_test::stay();
      });
    });
    REQUIRE(eventually([&] { return stage == 1; }));
    reader.start();
    await_state(reader, ThreadState::Blocked);
    victim.kill();
  }
  SUBCASE("removing") {
    TestProcess victim([&] {
      ring.remove_if([&](int i) {
        if (i < 3) return true;
        stage = 1;
        creel_test::stay();
      });
    });
    REQUIRE(eventually([&] { return stage == 1; }));
    reader.start();
    await_state(reader, ThreadState::Blocked);
    victim.kill();
  }
  SUBCASE("waiting for room, or an element") {
    ring.put(4);
    SharedRing<int> other{segment, "other", 1};
    std::vector<TestProcess> victims;
    victims.emplace_back([&] {
      stage |= 1;
      ring.put(5);
    });
    victims.emplace_back([&] {
      stage |= 2;
      other.take();
    });
    REQUIRE(eventually([&] { return stage == 3; }));
    for (TestProcess& victim : victims) victim.kill();
    const Thread taker = Thread::of_platform().start([&] { CHECK(other.take() == 6); });
    await_state(taker, ThreadState::Waiting);
    other.put(6);
    CHECK(taker.join(30s));
    reader.start();
  }
  CHECK(reader.join(30s));
  CHECK(ring.poll(30s) == 2);
  CHECK(ring.poll(30s) == 3);
}

TEST_CASE("processes killed at random lose what they had taken and nothing else") {
  if (!kForks) return;
  const SegmentName name;
  SharedSegment segment = SharedSegment::create(name.text, 8 << 20);
  constexpr std::uint64_t kMost = 2'000'000;  // more than are sent in the time
  // Each producer goes on where the one before it was killed: `sent` says how far that came for certain.
  struct Ledger {
    std::array<std::atomic<std::uint64_t>, 2> sent{};
    std::atomic<std::uint64_t> received{0}, wrong{0};
    std::array<std::atomic<std::uint8_t>, 2 * kMost> seen{};
  };
  auto& ledger = segment.construct<Ledger>("ledger");
  SharedRing<Parcel> ring{segment, "r", 4};
  const auto produce = [&](std::uint64_t p) {
    for (std::uint64_t n = ledger.sent[p] + 1; n < kMost; ++n) {
      ring.put(Parcel::of(p, n));
      ledger.sent[p] = n;
    }
  };
  const auto consume = [&] {
    for (const Parcel& parcel : ring) {
      ++ledger.received;
      if (!parcel.is_whole()) ++ledger.wrong;
      ++ledger.seen[parcel.sender * kMost + parcel.number];
      if (parcel.number % 16 == 0) ring.remove_if([](const Parcel& each) { return each.number % 5 == 0; });
    }
  };
  std::vector<TestProcess> processes;
  const auto start = [&](std::size_t i) {
    return i < 2 ? TestProcess([&] { produce(i); }) : TestProcess(consume);
  };
  for (std::size_t i = 0; i < 4; ++i) processes.push_back(start(i));
  unsigned seed = 11;
  constexpr int kKills = 40;
  for (int kill = 0; kill < kKills; ++kill) {
    const std::uint64_t before = ledger.received;
    REQUIRE_MESSAGE(eventually([&] { return ledger.received > before + 20; }, 30s),
                    "sent " << ledger.sent[0].load() << " and " << ledger.sent[1].load() << ", "
                            << ring.size() << " in the ring");
    seed = seed * 1664525 + 1013904223;
    const std::size_t victim = (seed >> 16) % processes.size();
    processes[victim].kill();
    processes[victim] = start(victim);
  }
  for (std::size_t i = 0; i < 2; ++i) processes[i].kill();
  ring.close();
  for (std::size_t i = 2; i < 4; ++i) CHECK(processes[i].succeeded());
  CHECK(ledger.wrong == 0);
  int lost = 0, twice = 0;
  for (std::size_t p = 0; p < 2; ++p) {
    for (std::uint64_t n = 1; n <= ledger.sent[p]; ++n) {
      const int seen = ledger.seen[p * kMost + n];
      if (seen == 0 && n % 5 != 0) ++lost;
      if (seen > 1) ++twice;
    }
  }
  CHECK(lost <= kKills);   // at most one with each consumer
  CHECK(twice <= kKills);  // put, but not yet in the ledger, when the producer was killed
}
