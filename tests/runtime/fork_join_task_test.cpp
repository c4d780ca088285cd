#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/fork_join.hpp>
#include <creel/runtime/fork_join_task.hpp>

#include <creel_test/eventually.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

using creel::ForkJoinPool;
using namespace std::chrono_literals;

namespace {

struct Fib final : creel::RecursiveTask<std::int64_t> {
  explicit Fib(int its_n) : n(its_n) {}
  std::int64_t compute() override {
    if (n < 2) return n;
    Fib first(n - 1);
    Fib second(n - 2);
    first.fork();
    const std::int64_t b = second.invoke();
    return first.join() + b;
  }
  const int n;
};

struct Sum final : creel::RecursiveTask<std::int64_t> {
  explicit Sum(std::span<const int> its_numbers) : numbers(its_numbers) {}
  std::int64_t compute() override {
    if (numbers.size() < 1000) return std::accumulate(numbers.begin(), numbers.end(), std::int64_t{0});
    Sum left(numbers.first(numbers.size() / 2)), right(numbers.subspan(numbers.size() / 2));
    creel::invoke_all(left, right);
    return left.join() + right.join();
  }
  std::span<const int> numbers;
};

template <typename Function>
auto task(Function function) {
  return creel::AdaptedTask<Function>(std::move(function));
}

}  // namespace

TEST_CASE("RecursiveTask: fork, invoke and join") {
  for (const std::size_t workers : {1U, 2U, 4U}) {
    ForkJoinPool pool(workers);
    Fib fib(18);
    CHECK(pool.invoke(fib) == 2584);
    CHECK(fib.is_done());
    CHECK(fib.is_completed_normally());
  }
}

TEST_CASE("RecursiveTask from outside runs in the common pool") {
  std::vector<int> numbers(100'000);
  std::iota(numbers.begin(), numbers.end(), 0);
  Sum sum(numbers);
  CHECK(sum.invoke() == 4'999'950'000);
  Sum forked(numbers);
  CHECK(forked.fork().join() == 4'999'950'000);
  ForkJoinPool* where = nullptr;
  auto look = task([&] { where = &creel::ForkJoinWorkerThread::current()->pool(); });
  look.invoke();
  CHECK(where == &ForkJoinPool::common());
}

TEST_CASE("ForkJoinTask: joined in any order, on the worker that forked it") {
  ForkJoinPool pool(1);
  std::vector<int> order;
  pool.invoke([&] {
    auto a = task([&] { order.push_back(1); });
    auto b = task([&] { order.push_back(2); });
    auto c = task([&] { order.push_back(3); });
    a.fork();
    b.fork();
    c.fork();
    a.join();  // from under the others
    c.join();
    b.join();
  });
  CHECK(order == std::vector<int>{1, 3, 2});
}

TEST_CASE("ForkJoinTask: forks that nobody joins mix with fork_join") {
  for (const std::size_t workers : {1U, 3U}) {
    std::list<std::unique_ptr<creel::ForkJoinTask<void>>> tasks;
    std::atomic<int> ran{0};
    {
      ForkJoinPool pool(workers);
      std::mutex lock;
      for (int round = 0; round < 100; ++round) {
        pool.invoke([&](creel::ForkJoinWorkerThread& worker) {
          const auto leave_one = [&] {
            auto count = [&] { ran.fetch_add(1); };
            auto made = std::make_unique<creel::AdaptedTask<decltype(count)>>(count);
            made->fork();
            const std::lock_guard guard{lock};
            tasks.push_back(std::move(made));
          };
          const auto two = [&](creel::ForkJoinWorkerThread& w) {
            leave_one();
            creel::fork_join(w, leave_one, [&] { ran.fetch_add(1); });
            return 1;
          };
          const auto [a, b] = creel::fork_join(worker, two, two);
          CHECK(a + b == 2);
        });
      }
      CHECK(pool.await_quiescence(10s));
    }
    CHECK(ran == 600);
  }
}

TEST_CASE("ForkJoinTask: exceptions come out of join, get and invoke") {
  ForkJoinPool pool(2);
  auto failing = task([]() -> int { throw creel::Error("wrong"); });
  CHECK_THROWS_WITH_AS(pool.invoke(failing), "wrong", creel::Error);
  CHECK(failing.is_completed_abnormally());
  CHECK_FALSE(failing.is_cancelled());
  CHECK_THROWS_WITH_AS(failing.get(), "wrong", creel::Error);
  CHECK(failing.exception() != nullptr);
  failing.quietly_join();
  failing.reinitialize();
  CHECK_FALSE(failing.is_done());
  pool.invoke([&] { CHECK_THROWS_WITH_AS(failing.fork().join(), "wrong", creel::Error); });
}

TEST_CASE("invoke_all: all are done before the first failure in order is thrown") {
  for (const std::size_t workers : {1U, 4U}) {
    ForkJoinPool pool(workers);
    std::atomic<int> ran{0};
    pool.invoke([&] {
      auto good = task([&] { ran.fetch_add(1); });
      auto bad = task([&] { throw creel::Error("second"); });
      auto worse = task([&] { throw creel::Error("third"); });
      auto last = task([&] { ran.fetch_add(1); });
      CHECK_THROWS_WITH_AS(creel::invoke_all(good, bad, worse, last), "second", creel::Error);
      CHECK(last.is_completed_normally());
    });
    CHECK(ran == 2);
    std::list<Fib> tasks;
    for (int i = 0; i < 12; ++i) tasks.emplace_back(i);
    pool.invoke([&] { creel::invoke_all(tasks); });
    CHECK(tasks.back().join() == 89);
  }
}

TEST_CASE("ForkJoinTask: cancelled before it began") {
  ForkJoinPool pool(1);
  creel::CountDownLatch go(1);
  std::atomic<bool> ran{false};
  auto first = task([&] { go.await(); });
  auto second = task([&] { ran = true; });
  pool.execute(first);
  pool.execute(second);
  CHECK(second.cancel());
  CHECK(second.cancel());
  CHECK(second.is_cancelled());
  go.count_down();
  first.join();
  CHECK_THROWS_AS(second.join(), creel::CancelledError);
  CHECK(second.is_done());
  CHECK_FALSE(ran);
  CHECK_FALSE(first.cancel());

  auto never_forked = task([] {});
  CHECK(never_forked.cancel());
  CHECK_THROWS_AS(never_forked.join(), creel::CancelledError);
}

TEST_CASE("ForkJoinTask: get has a deadline and is interrupted, on both kinds of threads") {
  ForkJoinPool pool(1);
  creel::CountDownLatch go(1);
  auto waiting = task([&] { go.await(); });
  pool.execute(waiting);
  for (creel::Thread::Builder builder : {creel::Thread::of_platform(), creel::Thread::of_virtual()}) {
    std::atomic<bool> timed_out{false};
    std::atomic<bool> interrupted{false};
    const creel::Thread thread = builder.start([&] {
      try {
        waiting.get(1ms);
      } catch (const creel::TimeoutError&) {
        timed_out = true;
      }
      try {
        waiting.get();
      } catch (const creel::InterruptedError&) {
        interrupted = true;
      }
    });
    CHECK(creel_test::eventually([&] { return thread.state() == creel::ThreadState::Waiting; }));
    thread.interrupt();
    thread.join();
    CHECK(timed_out);
    CHECK(interrupted);
  }
  go.count_down();
  waiting.get();
}

TEST_CASE("ForkJoinTask: a worker joins what another pool runs") {
  ForkJoinPool near(1);
  ForkJoinPool far(1);
  Fib fib(12);
  far.execute(fib);
  CHECK(near.invoke([&] { return fib.join(); }) == 144);
}

TEST_CASE("ForkJoinTask: quietly_invoke runs it here and keeps what it throws") {
  ForkJoinPool pool(1);
  pool.invoke([&] {
    auto good = task([] { return 7; });
    good.quietly_invoke();
    CHECK(good.is_completed_normally());
    CHECK(good.join() == 7);
    auto bad = task([] { throw creel::Error("no"); });
    bad.quietly_invoke();
    CHECK(bad.is_completed_abnormally());
    CHECK(bad.exception() != nullptr);
    CHECK_THROWS_AS(bad.join(), creel::Error);
  });
}

TEST_CASE("ForkJoinTask: try_unfork takes back the last fork only") {
  ForkJoinPool pool(1);
  pool.invoke([&] {
    auto a = task([] {});
    auto b = task([] {});
    a.fork();
    b.fork();
    CHECK_FALSE(a.try_unfork());
    CHECK(b.try_unfork());
    CHECK(a.try_unfork());
    b.invoke();
    a.invoke();
  });
}
