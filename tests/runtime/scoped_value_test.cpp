#include "creel_test/both_kinds.hpp"
#include "creel_test/sanitizer.hpp"
#include "scoped_bindings.hpp"
#include "thread_record.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/scoped_value.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_dump.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::ScopedValue;
using creel::Thread;
using creel::where;
using creel::detail::read_scoped_values;
using creel_test::on_both_kinds;

namespace test_values {

struct Point {
  int x = 0, y = 0;
};
[[maybe_unused]] std::string to_string(const Point& point) {
  return std::to_string(point.x) + "|" + std::to_string(point.y);
}
struct Opaque {};
struct Throwing {};
[[maybe_unused]] std::string to_string(const Throwing&) { throw std::runtime_error("cannot say"); }

}  // namespace test_values

namespace {

const ScopedValue<std::string> user{"user"};
const ScopedValue<int> request{"request"};

template <typename T>
std::string shown(T value) {
  const ScopedValue<T> one{"one"};
  return where(one, std::move(value)).call([] {
    return read_scoped_values(creel::detail::current_record()).at(0).value;
  });
}

}  // namespace

TEST_CASE("a value is bound for a call, on that thread, and what was before comes back") {
  on_both_kinds([] {
    CHECK_FALSE(user.is_bound());
    const int result = where(user, "alice").where(request, 7).call([] {
      CHECK(user.get() == "alice");
      CHECK(request.get() == 7);
      where(user, "root").run([] {
        CHECK(user.get() == "root");
        CHECK(request.get() == 7);
        Thread::yield();
        CHECK(user.get() == "root");
      });
      CHECK(user.get() == "alice");
      Thread::of_virtual().start([] { CHECK_FALSE(user.is_bound()); }).join();
      return request.get() + 1;
    });
    CHECK(result == 8);
    CHECK_FALSE(user.is_bound());
    CHECK_FALSE(request.is_bound());
  });
}

TEST_CASE("bindings end when the call throws") {
  CHECK_THROWS_AS(where(user, "alice").run([] { throw std::runtime_error("out"); }), std::runtime_error);
  CHECK_FALSE(user.is_bound());
}

TEST_CASE("an unbound value: get names it, or_else and or_else_throw have others") {
  CHECK_THROWS_WITH_AS(user.get(),
                       "the scoped value \"user\" is not bound on this thread; call from inside where(user, "
                       "…).run(…), or ask is_bound()",
                       creel::Error);
  CHECK(user.or_else("nobody") == "nobody");
  CHECK_THROWS_AS(user.or_else_throw([] { return std::out_of_range("user"); }), std::out_of_range);
  where(user, "alice").run([] {
    CHECK(user.or_else("nobody") == "alice");
    CHECK(user.or_else_throw([] { return std::out_of_range("user"); }) == "alice");
  });
}

TEST_CASE("of two bindings of one value the later counts; bindings may be used again and grow") {
  const auto alice = where(user, "alice");
  const auto bob = alice.where(user, "bob").where(request, 1);
  CHECK(bob.call([] { return user.get() + std::to_string(request.get()); }) == "bob1");
  CHECK(alice.call([] { return user.get(); }) == "alice");
  CHECK(bob.call([&] { return alice.call([] { return user.get() + std::to_string(request.get()); }); }) ==
        "alice1");
}

TEST_CASE("values are not copied: what is bound is what get gives; move-only ones can be bound") {
  const ScopedValue<std::unique_ptr<int>> owner{"owner"};
  const ScopedValue<std::shared_ptr<int>> shared{"shared"};
  const auto five = std::make_shared<int>(5);
  where(owner, std::make_unique<int>(3)).where(shared, five).run([&] {
    CHECK(*owner.get() == 3);
    CHECK(shared.get() == five);
    CHECK(&owner.get() == &owner.get());
    CHECK(five.use_count() == 2);
  });
  CHECK(five.use_count() == 1);
}

TEST_CASE("call returns what the function returns, references too") {
  int variable = 1;
  int& reference = where(request, 1).call([&]() -> int& { return variable; });
  CHECK(&reference == &variable);
}

TEST_CASE("dumps show values as text") {
  CHECK(shown(std::string("alice")) == "\"alice\"");
  CHECK(shown<const char*>("bob") == "\"bob\"");
  CHECK(shown<const char*>(nullptr) == "null");
  CHECK(shown(42) == "42");
  CHECK(shown(-1.5) == "-1.5");
  CHECK(shown(true) == "true");
  CHECK(shown('x') == "'x'");
  CHECK(shown(test_values::Point{1, 2}) == "1|2");
  CHECK(shown(test_values::Opaque{}) == "test_values::Opaque");
  CHECK(shown(test_values::Throwing{}) == "test_values::Throwing");
  CHECK(shown(std::string("two\nlines\x1b")) == "\"two lines \"");
  const std::string cut = shown(std::string(500, 'a'));
  CHECK(cut == "\"" + std::string(74, 'a') + "...\"");
  // Not in the middle of a character.
  const std::string euro = shown("a" + [] {
    std::string text;
    for (int i = 0; i < 100; ++i) text += "€";
    return text;
  }());
  CHECK(euro.size() <= 79);
  CHECK(euro.substr(euro.size() - 7) == "€...\"");
}

TEST_CASE("a thread's bindings are read from others, innermost first, without those that are hidden") {
  creel::CountDownLatch bound{1}, read{1};
  Thread thread = Thread::of_virtual().name("binder").start([&] {
    where(user, "alice").where(request, 7).run([&] {
      where(user, "root").run([&] {
        bound.count_down();
        read.await();
      });
    });
  });
  bound.await();
  const auto values = read_scoped_values(*thread.record());
  REQUIRE(values.size() == 2);
  CHECK(values[0].name == "user");
  CHECK(values[0].value == "\"root\"");
  CHECK(values[1].name == "request");
  CHECK(values[1].value == "7");

  const creel::ThreadDump dump = creel::ThreadDump::take();
  CHECK(dump.to_text().find("   - scoped value user = \"root\"\n   - scoped value request = 7\n") !=
        std::string::npos);
  CHECK(dump.to_json().find("\"scopedValues\"") != std::string::npos);
  read.count_down();
  thread.join();
  CHECK(read_scoped_values(*thread.record()).empty());
}

TEST_CASE("bindings are read whole while they come and go") {
  // Name and value always belong together; the deeper levels overwrite the stack where inner bindings were.
  static const ScopedValue<std::string> values[] = {
      ScopedValue<std::string>{"v0"}, ScopedValue<std::string>{"v1"}, ScopedValue<std::string>{"v2"},
      ScopedValue<std::string>{"v3"}};
  std::atomic<bool> stop{false};
  struct Binder {
    static void bind(std::uint32_t random, int depth) {
      if (depth == 0) return;
      const std::size_t i = (random >> 10) % 4;
      volatile char filler[200];
      for (std::size_t k = 0; k < sizeof filler; ++k) filler[k] = static_cast<char>(random + k);
      where(values[i], std::string(8 + random % 40, static_cast<char>('0' + i))).run([&] {
        bind(random * 1664525 + 1013904223, depth - 1);
        bind(random * 22695477 + 1, depth - 2 > 0 ? depth - 2 : 0);
      });
    }
  };
  Thread binder = Thread::of_platform().start([&] {
    for (std::uint32_t random = 1; !stop; ++random) Binder::bind(random, 5);
  });
  int seen = 0;
  const int enough = creel_test::kThreadSanitizer || creel_test::kAddressSanitizer ? 1'000 : 20'000;
  for (const creel::Deadline limit = 60s; seen < enough && !limit.expired();) {
    std::map<std::string, int> names;
    for (const auto& [name, value] : read_scoped_values(*binder.record())) {
      REQUIRE(name.size() == 2);
      REQUIRE(++names[name] == 1);
      REQUIRE(value.size() >= 10);
      REQUIRE(value.front() == '"');
      REQUIRE(value.back() == '"');
      REQUIRE(value.find_first_not_of(name[1], 1) == value.size() - 1);
      ++seen;
    }
  }
  stop = true;
  binder.join();
  CHECK(seen >= enough);
}
