#include <creel/runtime/concurrent_hash_map.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/detail/epoch.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/await_state.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadState;
using creel::detail::EpochDomain;
using creel::detail::Freeing;
using creel::detail::ReadGuard;
using creel_test::await_state;

namespace {

using AtOnce = EpochDomain<Freeing::AtOnce>;
using Batched = EpochDomain<Freeing::Batched>;

}  // namespace

TEST_CASE_TEMPLATE("epoch: what readers of before may see waits for them, not for those of after", Domain,
                   AtOnce, Batched) {
  const auto early = Domain::enter();
  const std::uint64_t mark = Domain::retire();
  CHECK_FALSE(Domain::may_free(mark));
  const auto late = Domain::enter();
  CHECK_FALSE(Domain::may_free(mark));
  Domain::leave(early);
  // The later one may have come in an epoch from which it holds up a step: but no step once it has left.
  Domain::leave(late);
  CHECK(Domain::may_free(mark));
  CHECK(Domain::may_free(Domain::retire()));  // nobody reads
}

TEST_CASE_TEMPLATE("epoch: readers that come and go all the time hold up nothing for long", Domain, AtOnce,
                   Batched) {
  std::atomic<bool> end{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!end) {
        const auto reading = Domain::enter();
        Domain::leave(reading);
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t mark = Domain::retire();
    while (!Domain::may_free(mark)) std::this_thread::yield();  // hangs if they did
  }
  end = true;
  for (std::thread& reader : readers) reader.join();
  CHECK(Domain::may_free(Domain::retire()));
}

TEST_CASE_TEMPLATE("epoch: a reader leaves on another thread than it came, whose own may have ended", Domain,
                   AtOnce, Batched) {
  std::optional<typename Domain::Reading> reading;
  std::thread([&] { reading = Domain::enter(); }).join();
  const std::uint64_t mark = Domain::retire();
  CHECK_FALSE(Domain::may_free(mark));
  // A new thread may be counted where the ended one was.
  std::thread([&] {
    const auto mine = Domain::enter();
    Domain::leave(mine);
    CHECK_FALSE(Domain::may_free(mark));
  }).join();
  Domain::leave(*reading);
  CHECK(Domain::may_free(mark));
}

namespace {

struct ReadsInTheEnd {
  bool* is_right = nullptr;
  ~ReadsInTheEnd() {
    if (is_right == nullptr) return;
    const auto reading = Batched::enter();
    const std::uint64_t mark = Batched::retire();
    const bool is_held = !Batched::may_free(mark);
    Batched::leave(reading);
    *is_right = is_held && Batched::may_free(mark);
  }
};
thread_local ReadsInTheEnd reads_in_the_end;

}  // namespace

TEST_CASE("epoch: thread_local destructors may read after what counts their thread is gone") {
  bool is_right = false;
  std::thread([&] {
    reads_in_the_end.is_right = &is_right;  // constructed first, destroyed last
    const ReadGuard<Freeing::Batched> guard;
  }).join();
  CHECK(is_right);
  CHECK(Batched::may_free(Batched::retire()));
}

TEST_CASE("epoch: the child of a fork() does not wait for readers that it does not have") {
  if (!creel_test::kChildMayStartThreads) return;
  creel::CountDownLatch inside{1};
  creel::CountDownLatch go{1};
  const Thread reader = Thread::of_platform().start([&] {
    const ReadGuard<Freeing::Batched> guard;
    inside.count_down();
    go.await();
  });
  inside.await();
  const std::uint64_t mark = Batched::retire();
  CHECK_FALSE(Batched::may_free(mark));
  const pid_t child = ::fork();
  if (child == 0) ::_exit(Batched::may_free(mark) ? 0 : 1);
  int status = -1;
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  go.count_down();
  CHECK(reader.join(60s));
  CHECK(Batched::may_free(mark));
}

// They park inside, all of them at once on few carriers, and most go on elsewhere; writers churn meanwhile.
TEST_CASE("epoch: virtual threads that park while they read see what they found, on whatever carrier") {
  constexpr int kReaders = 200;
  struct Pair {  // plain memory: freed in batches
    long a, b;
    long more[4];
  };
  creel::ConcurrentHashMap<int, Pair> map;
  for (int key = 0; key < 50; ++key) map.put(key, Pair{key, -key, {}});
  creel::CountDownLatch go{1};
  std::atomic<int> wrong{0};
  std::vector<Thread> readers;
  for (int i = 0; i < kReaders; ++i) {
    readers.push_back(Thread::of_virtual().start([&, i] {
      map.visit(i % 50, [&](const Pair& pair) {
        const long a = pair.a;
        go.await();
        for (int turn = 0; turn < 20; ++turn) {
          Thread::yield();
          if (pair.a != a || pair.b != -a) ++wrong;
        }
      });
    }));
  }
  for (const Thread& reader : readers) await_state(reader, ThreadState::Waiting);
  const std::uint64_t mark = Batched::retire();
  const auto churn = [&](long step) {
    for (int key = 0; key < 50; ++key) {
      if (key % 3 == 0) map.remove(key);  // the place and the memory of what some reader looks at
      map.put(key, Pair{step, -step, {}});
    }
  };
  for (long step = 1; step < 100; ++step) churn(step);
  CHECK_FALSE(Batched::may_free(mark));
  go.count_down();
  for (long step = 100; step < 200; ++step) churn(step);
  for (const Thread& reader : readers) CHECK(reader.join(60s));
  CHECK(wrong == 0);
  CHECK(Batched::may_free(mark));
}
