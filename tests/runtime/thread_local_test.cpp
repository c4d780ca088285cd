#include "creel_test/both_kinds.hpp"
#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"
#include "thread_local_map.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_local.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using creel::InheritableThreadLocal;
using creel::Thread;
using creel::ThreadLocal;
using creel_test::on_both_kinds;

namespace {

struct Counted {
  static inline std::atomic<int> alive{0};
  static inline std::atomic<std::uint64_t> destroyed_on{0};
  Counted() { ++alive; }
  Counted(const Counted&) { ++alive; }
  Counted(Counted&&) noexcept { ++alive; }
  Counted& operator=(const Counted&) = default;
  ~Counted() {
    --alive;
    destroyed_on = Thread::current().id();
  }
};

}  // namespace

TEST_CASE("each thread has its own value, made by the supplier at its first get") {
  std::atomic<int> made{0};
  const ThreadLocal<int> number{[&] { return 100 + made++; }};
  CHECK(made == 0);
  CHECK(number.get() == 100);
  number.get() = 7;
  on_both_kinds([&] {
    const int first = number.get();
    CHECK(first >= 101);
    number.set(first + 1000);
    CHECK(number.get() == first + 1000);
    Thread::yield();  // a virtual thread may come back elsewhere
    CHECK(number.get() == first + 1000);
  });
  CHECK(number.get() == 7);
  CHECK(made == 3);
}

TEST_CASE("values stay with a virtual thread that moves between carriers") {
  const ThreadLocal<std::uint64_t> own{[] { return Thread::current().id(); }};
  const int count = creel_test::kThreadSanitizer ? 200 : 2000;
  std::atomic<int> wrong{0};
  std::vector<Thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.push_back(Thread::of_virtual().start([&] {
      for (int turn = 0; turn < 20; ++turn) {
        if (own.get() != Thread::current().id()) ++wrong;
        Thread::yield();
      }
    }));
  }
  for (const Thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("remove destroys the value and the next get makes a new one") {
  int made = 0;
  const ThreadLocal<int> number{[&] { return ++made; }};
  CHECK(number.get() == 1);
  number.set(50);
  number.remove();
  CHECK(number.get() == 2);
  number.remove();
  number.remove();  // of nothing: nothing
  number.set(9);    // a value that was set needs no initial one
  CHECK(number.get() == 9);
  CHECK(made == 2);
}

TEST_CASE("set replaces the value, move-only ones too") {
  const ThreadLocal<std::unique_ptr<int>> number;
  CHECK(number.get() == nullptr);
  number.set(std::make_unique<int>(3));
  CHECK(*number.get() == 3);
  number.set(std::make_unique<int>(4));
  CHECK(*number.get() == 4);
}

TEST_CASE("a supplier that throws leaves no value, and is asked again") {
  int calls = 0;
  const ThreadLocal<int> number{[&] {
    if (++calls == 1) throw creel::Error("not yet");
    return 5;
  }};
  CHECK_THROWS_AS(number.get(), creel::Error);
  CHECK(number.get() == 5);
}

TEST_CASE("a supplier may use other thread locals, as many as there are") {
  std::vector<std::unique_ptr<ThreadLocal<int>>> chain;
  for (int i = 0; i < 100; ++i) {
    const ThreadLocal<int>* before = i == 0 ? nullptr : chain.back().get();
    chain.push_back(std::make_unique<ThreadLocal<int>>([before] { return before ? before->get() + 1 : 0; }));
  }
  on_both_kinds([&] {
    CHECK(chain.back()->get() == 99);
    for (int i = 0; i < 100; ++i) CHECK(chain[static_cast<std::size_t>(i)]->get() == i);
  });
}

TEST_CASE("values are destroyed on their thread before join returns") {
  const int before = Counted::alive;
  const ThreadLocal<Counted> counted;
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    Thread thread = builder.start([&] { counted.get(); });
    thread.join();
    CHECK(Counted::alive == before);
    CHECK(Counted::destroyed_on == thread.id());
  }
  std::thread foreign([&] { counted.get(); });
  foreign.join();
  CHECK(Counted::alive == before);
}

TEST_CASE("a destructor may use other thread locals, and set its own again") {
  static std::function<void(int)> at_end;
  struct Ending {
    int value = 0;
    Ending() = default;
    explicit Ending(int v) : value(v) {}
    Ending(Ending&& from) noexcept : value(std::exchange(from.value, 0)) {}
    ~Ending() {
      if (value != 0) at_end(value);
    }
  };
  std::atomic<int> sum{0};
  const ThreadLocal<int> other{[] { return 0; }};
  const ThreadLocal<Ending> ending;
  at_end = [&](int value) {
    sum += value;
    other.get() += 1;
    if (value > 1) ending.set(Ending(value - 1));
  };
  on_both_kinds([&] { ending.set(Ending(3)); });
  CHECK(sum == 2 * (3 + 2 + 1));
  at_end = nullptr;
}

TEST_CASE("a thread local may be destroyed before its threads") {
  const int before = Counted::alive;
  auto counted = std::make_unique<ThreadLocal<Counted>>();
  creel::CountDownLatch has_value{2}, gone{1};
  std::vector<Thread> threads;
  for (Thread::Builder builder : {Thread::of_platform(), Thread::of_virtual()}) {
    threads.push_back(builder.start([&] {
      counted->get();
      has_value.count_down();
      gone.await();
    }));
  }
  has_value.await();
  counted->get();
  CHECK(Counted::alive == before + 3);
  counted.reset();
  CHECK(Counted::alive == before + 2);  // this thread's at once
  gone.count_down();
  for (const Thread& thread : threads) thread.join();
  CHECK(Counted::alive == before);
}

TEST_CASE("values of destroyed variables do not pile up on a thread that lives on") {
  const int before = Counted::alive;
  std::atomic<const ThreadLocal<Counted>*> variable{nullptr};  // for the worker to use, which then clears it
  std::atomic<bool> stop{false};
  Thread worker = Thread::of_platform().start([&] {
    while (!stop) {
      if (const auto* current = variable.load()) {
        current->get();
        variable = nullptr;
      }
      Thread::yield();
    }
  });
  int most = 0;
  for (int i = 0; i < 1000; ++i) {
    const ThreadLocal<Counted> shortly;
    variable = &shortly;
    while (variable != nullptr) Thread::yield();
    most = std::max(most, Counted::alive - before);
  }
  stop = true;
  worker.join();
  CHECK(most <= 16);
  CHECK(Counted::alive == before);
}

TEST_CASE("an inheritable value is copied when a thread is made, and is the child's own then") {
  const InheritableThreadLocal<std::string> request{[] { return std::string("none"); }};
  request.set("GET /covers/7");
  on_both_kinds([&] {
    CHECK(request.get() == "GET /covers/7");
    request.set("mine");
    Thread::of_virtual().start([&] { CHECK(request.get() == "mine"); }).join();
  });
  CHECK(request.get() == "GET /covers/7");
  Thread::of_platform().inherit_thread_locals(false).start([&] { CHECK(request.get() == "none"); }).join();
  const creel::ThreadFactory apart = Thread::of_virtual().inherit_thread_locals(false).factory();
  apart([&] { CHECK(request.get() == "none"); }).join();
  request.remove();
  on_both_kinds([&] { CHECK(request.get() == "none"); });
}

TEST_CASE("a child value is made on the parent; what it throws, start throws") {
  std::uint64_t mapped_on = 0;
  const InheritableThreadLocal<int> depth{[] { return 0; },
                                          [&](const int& parent) {
                                            mapped_on = Thread::current().id();
                                            if (parent == 13) throw creel::Error("no child of 13");
                                            return parent + 1;
                                          }};
  depth.set(1);
  on_both_kinds([&] { CHECK(depth.get() == 2); });
  CHECK(mapped_on == Thread::current().id());
  depth.set(13);
  bool ran = false;
  CHECK_THROWS_WITH_AS(Thread::of_platform().start([&] { ran = true; }), "no child of 13", creel::Error);
  CHECK_THROWS_AS(Thread::of_virtual().start([&] { ran = true; }), creel::Error);
  CHECK_FALSE(ran);
  depth.remove();
}

TEST_CASE("a plain thread local is not inherited") {
  const ThreadLocal<int> number{[] { return 1; }};
  number.set(2);
  on_both_kinds([&] { CHECK(number.get() == 1); });
}

TEST_CASE("the map keeps what it is given, whatever comes and goes") {
  creel::detail::ThreadLocalMap map;
  using Key = creel::detail::TypedThreadLocalKey<int>;
  std::vector<std::shared_ptr<Key>> keys;
  for (int i = 0; i < 500; ++i) keys.push_back(std::make_shared<Key>());
  std::vector<int> expected(keys.size(), -1);
  std::uint32_t random = 12345;
  for (int step = 0; step < 20000; ++step) {
    random = random * 1664525 + 1013904223;
    const std::size_t k = (random >> 8) % keys.size();
    if (random % 3 == 0) {
      map.remove(keys[k]->id);
      expected[k] = -1;
    } else {
      map.store(keys[k], new int(step));
      expected[k] = step;
    }
    const std::size_t other = (random >> 16) % keys.size();
    const int* found = static_cast<const int*>(map.find(keys[other]->id));
    REQUIRE((found != nullptr ? *found : -1) == expected[other]);
  }
  map.clear();
  for (const auto& key : keys) REQUIRE(map.find(key->id) == nullptr);
}
