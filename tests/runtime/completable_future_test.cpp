#include "thread_record.hpp"

#include <creel/runtime/completable_future.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>

#include <creel_test/eventually.hpp>
#include <creel_test/sanitizer.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using creel::all_of;
using creel::any_of;
using creel::CompletableFuture;
using creel::completed_future;
using creel::CompletionError;
using creel::Future;
using creel::Thread;

namespace {

std::exception_ptr error(const char* what) { return std::make_exception_ptr(std::runtime_error(what)); }

// "-" for null, "what" for a plain one, "CompletionError(what)" for a wrapped one.
std::string describe(const std::exception_ptr& failure) {
  if (failure == nullptr) return "-";
  try {
    std::rethrow_exception(failure);
  } catch (const CompletionError& wrapped) {
    return "CompletionError(" + describe(wrapped.cause()) + ")";
  } catch (const creel::CancelledError&) {
    return "cancelled";
  } catch (const creel::TimeoutError&) {
    return "timeout";
  } catch (const std::exception& plain) {
    return plain.what();
  }
}

template <typename T>
std::string failure_of(const CompletableFuture<T>& future) {
  std::string text;
  CHECK(future.wait(20s));
  const auto note = [&](const std::exception_ptr& failure) { text = describe(failure); };
  if constexpr (std::is_void_v<T>) {
    future.when_complete(note);
  } else {
    future.when_complete([&](const T*, const std::exception_ptr& failure) { note(failure); });
  }
  return text;
}

}  // namespace

TEST_CASE("CompletableFuture: complete() once, from outside; those who wait get the value") {
  CompletableFuture<std::string> future;
  CHECK_FALSE(future.is_done());
  CHECK(future.get_now("not yet") == "not yet");
  CHECK_THROWS_AS(future.get(2ms), creel::TimeoutError);
  CHECK_FALSE(future.wait(2ms));
  Thread waiter = Thread::of_virtual().start([&] { CHECK(future.get() == "tea"); });
  CHECK(creel_test::eventually([&] { return waiter.state() == creel::ThreadState::Waiting; }));
  CHECK(future.complete("tea"));
  CHECK_FALSE(future.complete("coffee"));
  CHECK_FALSE(future.complete_exceptionally(error("late")));
  waiter.join();
  CHECK(future.join() == "tea");
  CHECK(future.get_now("not yet") == "tea");
  CHECK(future.result_now() == "tea");
  CHECK(future.state() == creel::FutureStatus::Success);
  CHECK_THROWS_AS(future.exception_now(), creel::Error);
}

TEST_CASE(
    "CompletableFuture: then_apply, then_accept, then_run pass values on, before and after completion") {
  CompletableFuture<int> start;
  std::vector<std::string> seen;
  const auto twice = start.then_apply([](const int& n) { return 2 * n; });
  const auto text = twice.then_apply([](int n) { return std::to_string(n); });
  const auto accepted = text.then_accept([&](const std::string& t) { seen.push_back("accept " + t); });
  const auto ran = accepted.then_run([&] { seen.push_back("run"); });
  CHECK(start.get_number_of_dependents() == 1);
  CHECK_FALSE(ran.is_done());
  start.complete(21);
  CHECK(start.get_number_of_dependents() == 0);
  ran.get();
  CHECK(text.get() == "42");
  CHECK(seen == std::vector<std::string>{"accept 42", "run"});
  CHECK(start.then_apply([](int n) { return n + 1; }).get() == 22);
}

TEST_CASE(
    "CompletableFuture: dependents go on in the order in which they were attached, on the completing "
    "thread") {
  CompletableFuture<void> start;
  std::vector<int> order;
  std::uint64_t thread_id = 0;
  for (int i = 0; i < 5; ++i) start.then_run([&order, i] { order.push_back(i); });
  start.then_run([&] { thread_id = Thread::current().id(); });
  Thread completer = Thread::of_platform().start([&] { start.complete(); });
  completer.join();
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(thread_id == completer.id());
  start.then_run([&] { thread_id = Thread::current().id(); });
  CHECK(thread_id == Thread::current().id());
}

TEST_CASE("CompletableFuture: the async forms run on the common pool or the executor given") {
  auto pool = creel::executors::new_fixed_thread_pool(1, Thread::of_platform().name("mine").factory());
  const auto name = [] { return Thread::current_name(); };
  const auto named = [](auto&&...) { return Thread::current_name(); };
  CHECK(&creel::CompletableFuture<int>::default_executor() == &creel::executors::common_pool());
  CHECK(creel::supply_async(name).get().rfind("common-pool", 0) == 0);
  CHECK(creel::supply_async(name, *pool).get() == "mine");
  std::string ran;
  creel::run_async([&] { ran = Thread::current_name(); }, *pool).get();
  CHECK(ran == "mine");
  const auto one = completed_future(1);
  CHECK(one.then_apply_async(named, *pool).get() == "mine");
  CHECK(one.then_apply_async(named).get().rfind("common-pool", 0) == 0);
  CHECK(one.then_combine_async(one, named, *pool).get() == "mine");
  CHECK(one.handle_async(named, *pool).get() == "mine");
  CHECK(one.apply_to_either_async(one, named, *pool).get() == "mine");
  CHECK(one.then_compose_async([&](int) { return completed_future(name()); }, *pool).get() == "mine");
  const auto failed = creel::failed_future<std::string>(error("no"));
  CHECK(failed.exceptionally_async(named, *pool).get() == "mine");
  CHECK(failed.exceptionally_compose_async([&](auto) { return completed_future(name()); }, *pool).get() ==
        "mine");
  std::vector<std::string> names;
  const auto note = [&](auto&&...) { names.push_back(Thread::current_name()); };
  one.then_accept_async(note, *pool).get();
  one.then_run_async(note, *pool).get();
  one.then_accept_both_async(one, note, *pool).get();
  one.run_after_both_async(one, note, *pool).get();
  one.accept_either_async(one, note, *pool).get();
  one.run_after_either_async(one, note, *pool).get();
  one.when_complete_async(note, *pool).get();
  CHECK(names == std::vector<std::string>(7, "mine"));
  CompletableFuture<std::string> later;
  later.complete_async(name, *pool);
  CHECK(later.get() == "mine");
}

TEST_CASE("CompletableFuture: combine, both and either") {
  CompletableFuture<int> a;
  CompletableFuture<std::string> b;
  const auto both = a.then_combine(b, [](int n, const std::string& s) { return s + std::to_string(n); });
  int accepted = 0;
  const auto accept = a.then_accept_both(b, [&](int n, const std::string&) { accepted = n; });
  bool ran = false;
  const auto run = a.run_after_both(b, [&] { ran = true; });
  bool either = false;
  const auto run_either = a.run_after_either(b, [&] { either = true; });
  b.complete("n=");
  CHECK(either);
  CHECK_FALSE(both.is_done());
  a.complete(4);
  CHECK(both.get() == "n=4");
  accept.get();
  run.get();
  CHECK(accepted == 4);
  CHECK(ran);
  CHECK(a.then_combine(a, [](int x, int y) { return x + y; }).get() == 8);

  CompletableFuture<int> slow;
  CompletableFuture<int> fast;
  const auto first = slow.apply_to_either(fast, [](int n) { return n * 10; });
  int seen = 0;
  const auto consumed = slow.accept_either(fast, [&](int n) { seen = n; });
  fast.complete(3);
  CHECK(first.get() == 30);
  CHECK(seen == 3);
  slow.complete(9);
  CHECK(seen == 3);
}

TEST_CASE("CompletableFuture: a combination fails when both have ended, either as the first one does") {
  CompletableFuture<int> a;
  CompletableFuture<int> b;
  bool called = false;
  const auto both = a.then_combine(b, [&](int, int) { return called = true; });
  const auto either = a.apply_to_either(b, [&](int n) { return n; });
  a.complete_exceptionally(error("a"));
  CHECK_FALSE(both.is_done());
  CHECK(failure_of(either) == "CompletionError(a)");
  b.complete(1);
  CHECK(failure_of(both) == "CompletionError(a)");
  CHECK_FALSE(called);
}

TEST_CASE("CompletableFuture: then_compose ends as the inner future does, now or later") {
  CompletableFuture<int> start;
  CompletableFuture<std::string> inner;
  const auto composed = start.then_compose([&](int) { return inner; });
  start.complete(1);
  CHECK_FALSE(composed.is_done());
  inner.complete("inner");
  CHECK(composed.get() == "inner");
  CHECK(&composed.get() == &inner.get());  // shared, not copied
  CHECK(start.then_compose([](int n) { return completed_future(n + 1); }).get() == 2);
  CHECK(failure_of(start.then_compose([](int) { return creel::failed_future<int>(error("x")); })) ==
        "CompletionError(x)");
  CHECK(failure_of(start.then_compose(
            [](int) -> CompletableFuture<int> { throw std::runtime_error("y"); })) == "CompletionError(y)");
}

TEST_CASE("CompletableFuture: failures travel wrapped once; get() unwraps them, join() does not") {
  CompletableFuture<int> start;
  bool called = false;
  const auto middle = start.then_apply([&](int n) { return called = true, n; });
  const auto end = middle.then_run([&] { called = true; });
  start.complete_exceptionally(std::runtime_error("boom"));
  CHECK(failure_of(start) == "boom");
  CHECK(failure_of(middle) == "CompletionError(boom)");
  CHECK(failure_of(end) == "CompletionError(boom)");
  CHECK_FALSE(called);
  CHECK_THROWS_WITH_AS(end.get(), "boom", std::runtime_error);
  CHECK_THROWS_WITH_AS(end.join(), "a stage failed: boom", CompletionError);
  CHECK_THROWS_WITH_AS(start.join(), "a stage failed: boom", CompletionError);
  CHECK_THROWS_AS(start.get_now(1), CompletionError);
  CHECK(start.is_completed_exceptionally());
  CHECK(end.state() == creel::FutureStatus::Failed);
  CHECK(describe(end.exception_now()) == "boom");
  CHECK_THROWS_AS(end.result_now(), creel::Error);
  const auto thrown = creel::supply_async([]() -> int { throw std::runtime_error("thrown"); });
  CHECK_THROWS_WITH_AS(thrown.get(), "thrown", std::runtime_error);
  CHECK(failure_of(thrown) == "CompletionError(thrown)");
}

TEST_CASE("CompletableFuture: exceptionally, handle and when_complete") {
  const auto failed = creel::failed_future<int>(error("no"));
  const auto fine = completed_future(5);
  CHECK(failed.exceptionally([](const std::exception_ptr& e) { return describe(e) == "no" ? 1 : 2; }).get() ==
        1);
  CHECK(fine.exceptionally([](std::exception_ptr) { return 1; }).get() == 5);
  CHECK(failed.exceptionally_compose([](std::exception_ptr) { return completed_future(7); }).get() == 7);
  CHECK(fine.exceptionally_compose([](std::exception_ptr) { return completed_future(7); }).get() == 5);
  const auto show = [](const int* value, std::exception_ptr failure) {
    return (value != nullptr ? std::to_string(*value) : "null") + " " + describe(failure);
  };
  CHECK(fine.handle(show).get() == "5 -");
  CHECK(failed.handle(show).get() == "null no");
  std::string seen;
  const auto note = [&](const int* value, std::exception_ptr failure) { seen = show(value, failure); };
  CHECK(fine.when_complete(note).get() == 5);
  CHECK(seen == "5 -");
  CHECK(failure_of(failed.when_complete(note)) == "CompletionError(no)");
  CHECK(seen == "null no");
  const auto thrower = [](const int*, std::exception_ptr) { throw std::runtime_error("observer"); };
  CHECK(failure_of(fine.when_complete(thrower)) == "CompletionError(observer)");
  CHECK(failure_of(failed.when_complete(thrower)) == "CompletionError(no)");
  std::string of_void;
  creel::completed_future().when_complete([&](std::exception_ptr e) { of_void = describe(e); }).get();
  CHECK(of_void == "-");
}

TEST_CASE("CompletableFuture: cancel() ends it and those after it, not those before it") {
  CompletableFuture<int> start;
  const auto middle = start.then_apply([](int n) { return n; });
  const auto end = middle.then_apply([](int n) { return n; });
  CHECK(middle.cancel());
  CHECK(middle.cancel());  // as Java: whether it is cancelled
  CHECK(middle.is_cancelled());
  CHECK(middle.is_completed_exceptionally());
  CHECK_THROWS_AS(middle.get(), creel::CancelledError);
  CHECK_THROWS_AS(middle.join(), creel::CancelledError);
  CHECK(failure_of(end) == "CompletionError(cancelled)");
  CHECK_FALSE(end.is_cancelled());
  CHECK_FALSE(start.is_done());
  CHECK(start.complete(1));
  CHECK_FALSE(start.cancel());
  CompletableFuture<int> by_exception;
  by_exception.complete_exceptionally(creel::CancelledError("mine"));
  CHECK(by_exception.is_cancelled());
}

TEST_CASE("CompletableFuture: cancel() does not interrupt the thread that computes; its result is dropped") {
  creel::CountDownLatch started{1};
  creel::CountDownLatch go{1};
  std::atomic<bool> interrupted{false};
  auto pool = creel::executors::new_fixed_thread_pool(1);
  const auto future = creel::supply_async(
      [&] {
        started.count_down();
        go.await();
        interrupted = Thread::interrupted();
        return 1;
      },
      *pool);
  started.await();
  CHECK(future.to_future().cancel(true));
  go.count_down();
  pool.reset();
  CHECK_FALSE(interrupted);
  CHECK(future.is_cancelled());
}

TEST_CASE("CompletableFuture: all_of and any_of") {
  std::vector<CompletableFuture<int>> futures(4);
  const auto all = all_of(futures);
  const auto any = any_of(futures);
  CompletableFuture<std::string> other;
  const auto mixed = all_of(futures[0], other);
  futures[2].complete(2);
  CHECK(any.get() == 2);
  futures[0].complete(0);
  futures[1].complete_exceptionally(error("one"));
  CHECK_FALSE(all.is_done());
  futures[3].complete(3);
  CHECK(failure_of(all) == "CompletionError(one)");
  CHECK_FALSE(mixed.is_done());
  other.complete("x");
  mixed.get();
  all_of().get();
  all_of(std::vector<CompletableFuture<int>>{}).get();
  CHECK_FALSE(any_of(std::vector<CompletableFuture<int>>{}).is_done());
  CompletableFuture<int> first;
  CompletableFuture<int> second;
  const auto either = any_of(first, second);
  second.complete_exceptionally(error("second"));
  CHECK(failure_of(either) == "CompletionError(second)");
}

TEST_CASE("CompletableFuture: or_timeout, complete_on_timeout, delayed_executor") {
  CompletableFuture<int> never;
  CHECK_THROWS_AS(never.or_timeout(5ms).get(20s), creel::TimeoutError);
  CHECK(failure_of(never) == "timeout");
  CompletableFuture<int> otherwise;
  otherwise.complete_on_timeout(5ms, 8);
  CHECK(otherwise.get(20s) == 8);
  CompletableFuture<int> in_time;
  in_time.or_timeout(1h);
  in_time.complete_on_timeout(1h, 9);
  in_time.complete(1);
  CHECK(in_time.get() == 1);
  const auto begin = creel::Deadline::Clock::now();
  const auto late = creel::supply_async([] { return 3; }, creel::delayed_executor(20ms));
  CHECK(late.get(20s) == 3);
  CHECK(creel::Deadline::Clock::now() - begin >= 20ms);
}

TEST_CASE("CompletableFuture: obtrude replaces the outcome; references to the old value stay good") {
  CompletableFuture<std::string> future;
  future.complete("old");
  const std::string& old = future.get();
  const auto after = future.then_apply([](const std::string& s) { return s; });
  future.obtrude_value("new");
  CHECK(old == "old");
  CHECK(future.get() == "new");
  CHECK(after.get() == "old");
  future.obtrude_exception(error("gone"));
  CHECK_THROWS_WITH_AS(future.get(), "gone", std::runtime_error);
  CHECK(future.is_completed_exceptionally());
  CHECK(failure_of(future.then_run([] {})) == "CompletionError(gone)");
  future.obtrude_value("back");
  CHECK(future.join() == "back");
  CompletableFuture<int> pending;
  const auto dependent = pending.then_apply([](int n) { return n + 1; });
  pending.obtrude_value(1);
  CHECK(dependent.get() == 2);
}

TEST_CASE("CompletableFuture: copies and minimal stages") {
  CompletableFuture<int> start;
  const auto copy = start.copy();
  const creel::CompletionStage<int> stage = start.minimal_completion_stage();
  CHECK(copy.complete(9));
  CHECK_FALSE(start.is_done());
  start.complete(1);
  CHECK(copy.get() == 9);
  CHECK(stage.then_apply([](int n) { return n + 1; }).get() == 2);
  CHECK(stage.to_completable_future().get() == 1);
  CHECK(creel::completed_stage(4).to_completable_future().get() == 4);
  CHECK(failure_of(creel::failed_stage<int>(error("f")).to_completable_future()) == "f");
  CHECK_FALSE(CompletableFuture<int>::new_incomplete_future<std::string>().is_done());
}

TEST_CASE("CompletableFuture: values that cannot be copied are lent, moved to who takes them, or shared") {
  using Box = std::unique_ptr<int>;
  const auto lent = completed_future(std::make_unique<int>(3));
  CHECK(lent.then_apply([](const Box& box) { return *box; }).get() == 3);
  const auto same = lent.when_complete([](const Box* box, std::exception_ptr) { CHECK(**box == 3); });
  CHECK(&same.get() == &lent.get());
  const auto moved = lent.then_apply([](Box box) { return *box + 1; });
  CHECK(moved.get() == 4);
  CHECK(lent.get() == nullptr);
  const Box out = creel::supply_async([] { return std::make_unique<int>(6); }).get();
  CHECK(*out == 6);
}

TEST_CASE("CompletableFuture: a temporary handle takes the value only if nobody else has it") {
  const auto kept = completed_future(std::string("a value that is too long for the small buffer"));
  const auto copy_of = [](const CompletableFuture<std::string>& future) { return future; };
  CHECK(copy_of(kept).get().size() == 45);
  CHECK(kept.get().size() == 45);
  CHECK(Future<std::string>(kept).get().size() == 45);
  CHECK(kept.get().size() == 45);
}

TEST_CASE("CompletableFuture: a Future of an executor is one, and back") {
  auto pool = creel::executors::new_fixed_thread_pool(1);
  const CompletableFuture<int> future = pool->submit([] { return 20; });
  CHECK(future.then_apply([](int n) { return n + 1; }).get() == 21);
  const Future<int> back = future;
  CHECK(back.get() == 20);
  const CompletableFuture<int> failed = pool->submit([]() -> int { throw std::runtime_error("task"); });
  CHECK(failure_of(failed.then_run([] {})) == "CompletionError(task)");
}

TEST_CASE("CompletableFuture: a chain of 100,000 stages takes no stack, completed, failed or given up") {
  const int length = creel_test::kThreadSanitizer ? 10'000 : 100'000;
  for (const int how : {0, 1, 2}) {
    auto start = std::make_unique<CompletableFuture<int>>();
    CompletableFuture<int> end = start->then_apply([](int n) { return n; });
    for (int i = 0; i < length; ++i) end = end.then_apply([](int n) { return n + 1; });
    Thread::of_virtual()
        .start([&] {  // on a small stack
          if (how == 0) start->complete(1);
          if (how == 1) start->complete_exceptionally(error("first"));
          start.reset();
        })
        .join();
    CHECK(end.is_done());
    if (how == 0) CHECK(end.get() == length + 1);
    if (how == 1) CHECK(failure_of(end) == "CompletionError(first)");
    if (how == 2) CHECK_THROWS_WITH_AS(end.get(), doctest::Contains("given up"), creel::Error);
  }
}

TEST_CASE("CompletableFuture: a loop of then_compose over inner futures unwinds without stack") {
  std::vector<CompletableFuture<int>> steps(20'000);
  CompletableFuture<int> end = completed_future(0);
  for (const auto& step : steps) end = end.then_compose([step](int) { return step; });
  for (std::size_t i = steps.size(); i-- > 0;) steps[i].complete(static_cast<int>(i));
  CHECK(end.get() == 19'999);
}

TEST_CASE("CompletableFuture: stages that ended do not pile up at a future that never does") {
  CompletableFuture<int> never;
  auto captured = std::make_shared<int>(0);
  for (int i = 0; i < 1000; ++i) {
    const auto stage = never.then_apply([captured](int n) { return n; });
    stage.cancel();
  }
  CHECK(captured.use_count() == 1);  // what a cancelled stage captured goes at once
  CHECK(never.get_number_of_dependents() == 0);
  const auto live = never.then_run([] {});
  CHECK(never.get_number_of_dependents() == 1);
  never.complete(1);
  live.get();
}

TEST_CASE("CompletableFuture: an executor that refuses fails the stage, one that drops the task cancels it") {
  creel::ThreadPoolExecutor pool{{}};
  creel::CountDownLatch release{1};
  pool.execute([&] { release.await(); });
  const auto dropped = completed_future(1).then_apply_async([](int n) { return n; }, pool);
  CHECK(pool.queue().size() == 1);
  pool.queue().clear();
  CHECK(dropped.is_cancelled());
  release.count_down();
  pool.shutdown();
  const auto refused = completed_future(1).then_apply_async([](int n) { return n; }, pool);
  CHECK_THROWS_AS(refused.get(), creel::RejectedError);
  CHECK_THROWS_AS(creel::supply_async([] { return 1; }, pool).get(), creel::RejectedError);
}

TEST_CASE("CompletableFuture: get() answers interrupt, join() does not; both show in dumps") {
  CompletableFuture<int> future;
  std::atomic<bool> flag_kept{false};
  Thread getter =
      Thread::of_platform().start([&] { CHECK_THROWS_AS(future.get(), creel::InterruptedError); });
  Thread joiner = Thread::of_platform().start([&] {
    CHECK(future.join() == 1);
    flag_kept = Thread::interrupted();
  });
  const auto waits = [](const Thread& thread) { return thread.state() == creel::ThreadState::Waiting; };
  CHECK(creel_test::eventually([&] { return waits(getter) && waits(joiner); }));
  CHECK(std::string(getter.record()->park_site.type.load()) == "creel::CompletableFuture");
  joiner.interrupt();
  getter.interrupt();
  CHECK(getter.join(20s));
  CHECK(joiner.is_alive());
  future.complete(1);
  CHECK(joiner.join(20s));
  CHECK(flag_kept);
}

TEST_CASE("CompletableFuture: who waits for a stage that runs sees the thread that runs it") {
  creel::CountDownLatch started{1};
  creel::CountDownLatch go{1};
  std::atomic<std::uint64_t> runner{0};
  const auto future = creel::supply_async([&] {
    runner = Thread::current().id();
    started.count_down();
    go.await();
  });
  started.await();
  Thread waiter = Thread::of_platform().start([&] { future.get(); });
  CHECK(creel_test::eventually([&] { return waiter.state() == creel::ThreadState::Waiting; }));
  CHECK(waiter.record()->park_site.owner.load()->load() == runner);
  go.count_down();
  waiter.join();
}

TEST_CASE("CompletableFuture: stages attached while others complete are each called once") {
  for (int round = 0; round < 300; ++round) {
    CompletableFuture<int> a;
    CompletableFuture<int> b;
    std::atomic<int> calls{0};
    std::vector<CompletableFuture<void>> ends;
    Thread completer = (round % 2 == 0 ? Thread::of_virtual() : Thread::of_platform()).start([&] {
      a.complete(1);
      b.complete(2);
    });
    for (int i = 0; i < 20; ++i) {
      ends.push_back(a.then_accept([&](int) { ++calls; }));
      ends.push_back(a.then_accept_both(b, [&](int, int) { ++calls; }));
      ends.push_back(a.accept_either(b, [&](int) { ++calls; }));
      ends.push_back(b.then_accept_async([&](int) { ++calls; }));
    }
    all_of(ends).get(20s);
    CHECK(calls == 80);
    completer.join();
  }
}
