#include <creel/runtime/error.hpp>
#include <creel/scheduler/channel.hpp>

#include <creel_test/eventually.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <vector>

using namespace std::chrono_literals;
using creel::Deadline;
using creel::Thread;
using creel::ThreadState;
using creel::scheduler::Channel;
using creel_test::eventually;

namespace {

bool parked(const Thread& thread) {
  return thread.state() == ThreadState::Waiting || thread.state() == ThreadState::TimedWaiting;
}

Thread start(std::function<void()> body) {
  return Thread::of_platform().name("test-", 0).start(std::move(body));
}

}  // namespace

TEST_CASE("a channel gives items in the order they were put, then ends when closed") {
  Channel<int> channel("read", "decode", 4);
  CHECK(channel.name() == "read -> decode");
  for (int i = 0; i < 4; ++i) CHECK(channel.put(i));
  channel.close();
  CHECK_FALSE(channel.put(4));
  std::vector<int> seen;
  for (const int item : channel) seen.push_back(item);
  CHECK(seen == std::vector<int>{0, 1, 2, 3});
  CHECK_FALSE(channel.take().has_value());
  CHECK(channel.stats().items == 4);
  CHECK(channel.stats().depth == 0);
}

TEST_CASE("a channel carries what can only be moved") {
  Channel<std::unique_ptr<int>> channel("a", "b", 1);
  CHECK(channel.put(std::make_unique<int>(7)));
  CHECK(**channel.take() == 7);
}

TEST_CASE("put waits while the channel is full, and the wait is measured") {
  Channel<int> channel("read", "decode", 1);
  REQUIRE(channel.put(1));
  std::atomic<bool> done = false;
  const Thread producer = start([&] {
    CHECK(channel.put(2));
    done = true;
  });
  REQUIRE(eventually([&] { return parked(producer); }));
  CHECK_FALSE(done.load());
  const auto while_waiting = channel.stats().blocked;
  CHECK(eventually([&] { return channel.stats().blocked > while_waiting; }));  // a wait in progress counts
  CHECK(channel.take() == 1);
  producer.join();
  CHECK(channel.take() == 2);
  const auto after = channel.stats().blocked;
  CHECK(after >= while_waiting);
  CHECK(channel.stats().blocked == after);
  CHECK(channel.stats().starved == 0ns);
}

TEST_CASE("take waits for an item, and the wait is measured") {
  Channel<int> channel("read", "decode", 1);
  std::optional<int> seen;
  const Thread consumer = start([&] { seen = channel.take(); });
  REQUIRE(eventually([&] { return parked(consumer); }));
  CHECK(channel.put(5));
  consumer.join();
  CHECK(seen == 5);
  CHECK(channel.stats().starved > 0ns);
  CHECK(channel.stats().blocked == 0ns);
}

TEST_CASE("a deadline ends both waits with an error that says where") {
  Channel<int> channel("read", "decode", 1);
  CHECK_THROWS_WITH_AS(static_cast<void>(channel.take(Deadline::now())),
                       "waited too long: read -> decode, empty, fed by stage read", creel::TimeoutError);
  REQUIRE(channel.put(1));
  CHECK_THROWS_WITH_AS(static_cast<void>(channel.put(2, 1ms)),
                       "waited too long: read -> decode, full, drained by stage decode", creel::TimeoutError);
  CHECK(channel.take() == 1);  // what timed out is not there
  CHECK(channel.put(3, Deadline::now()));
  CHECK(channel.take(Deadline::now()) == 3);
}

TEST_CASE("an interrupt ends both waits and leaves the channel usable") {
  Channel<int> channel("a", "b", 1);
  std::atomic<int> interrupted = 0;
  const auto until_interrupted = [&](auto wait) {
    return start([&interrupted, wait] {
      try {
        wait();
      } catch (const creel::InterruptedError&) {
        ++interrupted;
      }
    });
  };
  const Thread taker = until_interrupted([&] { static_cast<void>(channel.take()); });
  REQUIRE(eventually([&] { return parked(taker); }));
  taker.interrupt();
  taker.join();
  CHECK(interrupted == 1);
  REQUIRE(channel.put(1));
  const Thread putter = until_interrupted([&] { static_cast<void>(channel.put(2)); });
  REQUIRE(eventually([&] { return parked(putter); }));
  putter.interrupt();
  putter.join();
  CHECK(interrupted == 2);
  CHECK(channel.take() == 1);
  CHECK(channel.put(3));
  CHECK(channel.take() == 3);
}

TEST_CASE("cancel drops what is left and wakes both sides") {
  Channel<std::shared_ptr<int>> full("a", "b", 1);
  Channel<int> empty("a", "b", 1);
  const auto item = std::make_shared<int>(1);
  REQUIRE(full.put(item));
  std::atomic<bool> taken = true;
  std::atomic<bool> put = true;
  const Thread putter = start([&] { put = full.put(item); });
  const Thread taker = start([&] { taken = empty.take().has_value(); });
  REQUIRE(eventually([&] { return parked(putter) && parked(taker); }));
  full.cancel();
  empty.cancel();
  putter.join();
  taker.join();
  CHECK_FALSE(put.load());
  CHECK_FALSE(taken.load());
  CHECK_FALSE(full.take().has_value());
}

TEST_CASE("a failure is thrown by every put and take, and the first one stays") {
  Channel<int> channel("a", "b", 4);
  REQUIRE(channel.put(1));
  channel.fail(std::make_exception_ptr(creel::Error("the disk is gone")));
  channel.fail(std::make_exception_ptr(creel::Error("later")));
  channel.close();
  CHECK_THROWS_WITH(static_cast<void>(channel.take()), "the disk is gone");
  CHECK_THROWS_WITH(static_cast<void>(channel.put(2)), "the disk is gone");
}

TEST_CASE("numbered items come out in their order, holes left out") {
  Channel<int> channel("decode", "collate", 4);
  CHECK(channel.put_at(2, 20));
  CHECK(channel.put_at(1, 10));
  CHECK(channel.stats().depth == 2);
  CHECK_THROWS_WITH_AS(static_cast<void>(channel.take(Deadline::now())),
                       "waited too long: decode -> collate, next item not ready, fed by stage decode",
                       creel::TimeoutError);
  CHECK_THROWS_AS(static_cast<void>(channel.put_at(4, 40, 1ms)), creel::TimeoutError);  // out of the window
  CHECK(channel.skip_at(0));
  CHECK(channel.put_at(4, 40, Deadline::now()));
  CHECK(channel.skip_at(3));
  const auto first = channel.take_numbered();
  CHECK(first->value == 10);
  CHECK(first->sequence == 0);  // counts what was taken, not what was left out
  CHECK(channel.take() == 20);
  const auto last = channel.take_numbered();
  CHECK(last->value == 40);
  CHECK(last->sequence == 2);
}

TEST_CASE("a putter that is ahead of the window is let in when the window comes") {
  Channel<int> channel("decode", "collate", 2);
  const Thread ahead = start([&] { CHECK(channel.put_at(3, 3)); });
  REQUIRE(eventually([&] { return parked(ahead); }));
  for (int i = 0; i < 3; ++i) {
    CHECK(channel.put_at(static_cast<std::uint64_t>(i), i));
    CHECK(channel.take() == i);
  }
  CHECK(channel.take() == 3);
  ahead.join();
}

TEST_CASE("many putters and takers: each item comes once, and those of one putter in their order") {
  constexpr int kPutters = 4;
  constexpr int kTakers = 3;
  constexpr int kEach = 5000;
  Channel<int> channel("a", "b", 3);
  std::vector<std::vector<int>> seen(kTakers);
  std::vector<Thread> putters;
  std::vector<Thread> takers;
  for (int p = 0; p < kPutters; ++p) {
    putters.push_back(start([&channel, p] {
      for (int i = 0; i < kEach; ++i) CHECK(channel.put(p * kEach + i));
    }));
  }
  for (int t = 0; t < kTakers; ++t) {
    takers.push_back(start([&channel, &mine = seen[static_cast<std::size_t>(t)]] {
      while (const std::optional<int> item = channel.take()) mine.push_back(*item);
    }));
  }
  for (const Thread& thread : putters) thread.join();
  channel.close();
  for (const Thread& thread : takers) thread.join();
  std::vector<int> all;
  for (const std::vector<int>& part : seen) {
    std::vector<int> last(kPutters, -1);
    for (const int item : part) {
      int& previous = last[static_cast<std::size_t>(item / kEach)];
      CHECK(previous < item);
      previous = item;
    }
    all.insert(all.end(), part.begin(), part.end());
  }
  std::sort(all.begin(), all.end());
  std::vector<int> expected(kPutters * kEach);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(all == expected);
}

TEST_CASE("an item that came before its turn wakes a taker of its own") {
  Channel<int> channel("decode", "collate", 4);
  const Thread first = start([&] { static_cast<void>(channel.take()); });
  const Thread second = start([&] { static_cast<void>(channel.take()); });
  REQUIRE(eventually([&] { return parked(first) && parked(second); }));
  CHECK(channel.put_at(1, 1));  // wakes nobody: 0 is next
  CHECK(channel.put_at(0, 0));
  const bool both = first.join(10s) && second.join(10s);
  CHECK(both);
  channel.close();
  first.join();
  second.join();
}

TEST_CASE("a wake-up that meets an interrupt is passed on to another taker") {
  // The interrupt comes right after the put, mostly before the woken taker runs: it leaves, and the item is
  // the other's.
  int interrupted = 0;
  bool lost = false;
  for (int round = 0; round < 300 && !lost; ++round) {
    Channel<int> channel("a", "b", 2);
    std::atomic<int> taken = 0;
    std::atomic<int> left = 0;
    const auto take_one = [&] {
      try {
        taken += channel.take().has_value() ? 1 : 0;
      } catch (const creel::InterruptedError&) {
        ++left;
      }
    };
    const Thread first = start(take_one);
    REQUIRE(eventually([&] { return parked(first); }));
    const Thread second = start(take_one);
    REQUIRE(eventually([&] { return parked(second); }));
    CHECK(channel.put(round));
    first.interrupt();
    REQUIRE(first.join(10s));
    interrupted += left;
    if (left == 1) lost = !second.join(5s);  // else the first has taken it, and the second rightly waits
    channel.close();
    second.join();
    CHECK(taken == 1);
  }
  CHECK_FALSE(lost);
  CHECK(interrupted > 0);
}

TEST_CASE("a channel of no room is refused") {
  CHECK_THROWS_WITH((Channel<int>("a", "b", 0)), "channel a -> b has capacity 0; give it at least 1");
}
