// Queues and semaphores are linearizable: see creel_test/linearizability.hpp. Each history is short, so that
// the search is; there are many of them.
#include "creel_test/linearizability.hpp"

#include "creel_test/sanitizer.hpp"
#include "sync_point.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/delay_queue.hpp>
#include <creel/runtime/linked_blocking_deque.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/linked_transfer_queue.hpp>
#include <creel/runtime/priority_blocking_queue.hpp>
#include <creel/runtime/semaphore.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <optional>

namespace {

using creel_test::Call;
using creel_test::check_linearizability;
using creel_test::draw_of;
using creel_test::record_history;
using creel_test::Verdict;

constexpr std::size_t kThreads = 4;
constexpr std::size_t kCalls = 8;
constexpr int kRounds = creel_test::kThreadSanitizer ? 60 : 300;

enum class What : std::uint8_t { Offer, OfferFirst, Poll, PollLast, Peek, Remove, Size };
struct QueueCall {
  What what;
  int element = 0;  // offered, or to be removed
  int answer = 0;   // what came out, -1 for nothing; 0 or 1; the size
};

// A queue of at most kCapacity elements, ordered by arrival or by value, with both ends where it is a deque.
template <std::size_t kCapacity, bool kByValue>
struct QueueSpec {
  using State = std::vector<int>;
  using Operation = QueueCall;

  static int take_out(State& state, State::iterator it) {
    const int element = *it;
    state.erase(it);
    return element;
  }
  static bool apply(State& state, const QueueCall& call) {
    switch (call.what) {
      case What::Offer:
      case What::OfferFirst:
        if (state.size() == kCapacity) return call.answer == 0;
        state.insert(call.what == What::Offer ? state.end() : state.begin(), call.element);
        if (kByValue) std::sort(state.begin(), state.end());
        return call.answer == 1;
      case What::Poll:
        return call.answer == (state.empty() ? -1 : take_out(state, state.begin()));
      case What::PollLast:
        return call.answer == (state.empty() ? -1 : take_out(state, state.end() - 1));
      case What::Peek:
        return call.answer == (state.empty() ? -1 : state.front());
      case What::Remove: {
        const auto it = std::find(state.begin(), state.end(), call.element);
        if (it == state.end()) return call.answer == 0;
        state.erase(it);
        return call.answer == 1;
      }
      case What::Size:
        return call.answer == static_cast<int>(state.size());
    }
    return false;
  }
  static std::string key(const State& state) {
    std::string text;
    for (const int element : state) text += ' ' + std::to_string(element);
    return text;
  }
};

struct AlwaysDue {
  creel::Deadline operator()(int element) const {
    return creel::Deadline(creel::Deadline::Clock::time_point{} + std::chrono::nanoseconds(element));
  }
};

struct Array {
  creel::ArrayBlockingQueue<int> queue{3};
  using Spec = QueueSpec<3, false>;
};
struct Linked {
  creel::LinkedBlockingQueue<int> queue{3};
  using Spec = QueueSpec<3, false>;
};
struct Deque {
  creel::LinkedBlockingDeque<int> queue{3};
  using Spec = QueueSpec<3, false>;
};
struct Transfer {
  creel::LinkedTransferQueue<int> queue;
  using Spec = QueueSpec<1000, false>;
};
struct Priority {
  creel::PriorityBlockingQueue<int> queue;
  using Spec = QueueSpec<1000, true>;
};
struct Delay {
  creel::DelayQueue<int, AlwaysDue> queue;
  using Spec = QueueSpec<1000, true>;
};

template <typename Queue>
QueueCall call_one(Queue& queue, int element, unsigned draw) {
  switch (draw % 10) {
    case 0:
    case 1:
    case 2:
      return {What::Offer, element, queue.offer(element) ? 1 : 0};
    case 3:
    case 4:
    case 5:
      return {What::Poll, 0, queue.poll().value_or(-1)};
    case 6:
      return {What::Peek, 0, queue.peek().value_or(-1)};
    case 7: {
      const int other = static_cast<int>(draw / 16 % (kThreads * kCalls));
      return {What::Remove, other, queue.remove(other) ? 1 : 0};
    }
    case 8:
      if constexpr (requires { queue.offer_first(element); }) {
        return draw % 2 == 0 ? QueueCall{What::OfferFirst, element, queue.offer_first(element) ? 1 : 0}
                             : QueueCall{What::PollLast, 0, queue.poll_last().value_or(-1)};
      }
      [[fallthrough]];
    default:
      return {What::Size, 0, static_cast<int>(queue.size())};
  }
}

template <typename Made>
std::size_t rounds_refused(int rounds) {
  std::size_t refused = 0;
  for (int round = 0; round < rounds; ++round) {
    Made made;
    const auto history = record_history<QueueCall>(kThreads, kCalls, [&](std::size_t thread, std::size_t i) {
      return call_one(made.queue, static_cast<int>(thread * kCalls + i), draw_of(round, thread, i));
    });
    const Verdict verdict = check_linearizability<typename Made::Spec>(history);
    CHECK(verdict != Verdict::Undecided);
    refused += verdict == Verdict::NotLinearizable ? 1 : 0;
  }
  return refused;
}

}  // namespace

TEST_CASE("the checker accepts and refuses what it should") {
  using Spec = QueueSpec<8, false>;
  using History = std::vector<Call<QueueCall>>;
  const auto put = [](int element) { return QueueCall{What::Offer, element, 1}; };
  const auto got = [](int element) { return QueueCall{What::Poll, 0, element}; };
  CHECK(check_linearizability<Spec>(History{}) == Verdict::Linearizable);
  // One after the other: first in, first out.
  CHECK(check_linearizability<Spec>(History{{0, 1, 0, put(1)}, {2, 3, 0, put(2)}, {4, 5, 1, got(1)}}) ==
        Verdict::Linearizable);
  CHECK(check_linearizability<Spec>(History{{0, 1, 0, put(1)}, {2, 3, 0, put(2)}, {4, 5, 1, got(2)}}) ==
        Verdict::NotLinearizable);
  // Two puts at once come in either order.
  CHECK(check_linearizability<Spec>(History{{0, 3, 0, put(1)}, {1, 2, 1, put(2)}, {4, 5, 1, got(2)}}) ==
        Verdict::Linearizable);
  // Empty, though a put had returned before.
  CHECK(check_linearizability<Spec>(History{{0, 1, 0, put(1)}, {2, 3, 1, got(-1)}}) ==
        Verdict::NotLinearizable);
  CHECK(check_linearizability<Spec>(History{{0, 2, 0, put(1)}, {1, 3, 1, got(-1)}}) == Verdict::Linearizable);
  // Out before it was in; out twice.
  CHECK(check_linearizability<Spec>(History{{0, 1, 0, got(1)}, {2, 3, 1, put(1)}}) ==
        Verdict::NotLinearizable);
  CHECK(check_linearizability<Spec>(History{{0, 5, 0, put(1)}, {1, 3, 1, got(1)}, {2, 4, 2, got(1)}}) ==
        Verdict::NotLinearizable);
  // What looks right to each two is wrong for all: a search that does not take back would go astray.
  CHECK(check_linearizability<Spec>(History{{0, 9, 0, put(1)},
                                            {1, 8, 1, put(2)},
                                            {2, 7, 2, put(3)},
                                            {10, 11, 0, got(3)},
                                            {12, 13, 0, got(1)},
                                            {14, 15, 0, got(2)}}) == Verdict::Linearizable);
}

TEST_CASE_TEMPLATE("a queue is linearizable", Made, Array, Linked, Deque, Transfer, Priority, Delay) {
  CHECK(rounds_refused<Made>(kRounds) == 0);
}

namespace {

// Looks and takes in two steps, so that two threads may take the same element.
class TornQueue {
 public:
  bool offer(int element) { return queue_.offer(element); }
  std::optional<int> poll() {
    const std::optional<int> first = queue_.peek();
    creel::Thread::yield();
    if (first) queue_.remove(*first);
    return first;
  }
  std::optional<int> peek() const { return queue_.peek(); }
  bool remove(int element) { return queue_.remove(element); }
  std::size_t size() const { return queue_.size(); }

 private:
  creel::LinkedBlockingQueue<int> queue_{3};
};
struct Torn {
  TornQueue queue;
  using Spec = QueueSpec<3, false>;
};

}  // namespace

TEST_CASE("a queue that looks and takes in two steps is found out") {
  CHECK(rounds_refused<Torn>(kRounds) > 0);
}

namespace {

struct SemaphoreCall {
  int permits = 0;  // asked for if positive, given if negative
  bool answer = true;
};
struct SemaphoreSpec {
  using State = int;
  using Operation = SemaphoreCall;
  static bool apply(int& permits, const SemaphoreCall& call) {
    const bool gets = call.permits <= permits;
    if (gets) permits -= call.permits;
    return gets == call.answer;
  }
  static std::string key(int permits) { return ' ' + std::to_string(permits); }
};

}  // namespace

TEST_CASE("a semaphore is linearizable") {
  for (int round = 0; round < kRounds; ++round) {
    creel::Semaphore semaphore{2};
    const auto history =
        record_history<SemaphoreCall>(kThreads, kCalls, [&](std::size_t thread, std::size_t i) {
          const unsigned draw = draw_of(round, thread, i);
          const int permits = 1 + static_cast<int>(draw / 8 % 2);
          if (draw % 8 < 5) return SemaphoreCall{permits, semaphore.try_acquire(permits)};
          semaphore.release(permits);
          return SemaphoreCall{-permits};
        });
    REQUIRE(check_linearizability<SemaphoreSpec>(history, 2) == Verdict::Linearizable);
  }
}

TEST_CASE("what a synchronisation point does follows from seed, thread and count alone") {
  using creel::detail::Perturbation;
  using creel::detail::perturbation;
  std::array<int, 4> count{};
  int same_as_other_seed = 0;
  for (std::uint64_t point = 0; point < 6400; ++point) {
    const Perturbation drawn = perturbation(42, 7, point);
    CHECK(drawn == perturbation(42, 7, point));
    ++count[static_cast<std::size_t>(drawn)];
    same_as_other_seed += drawn == perturbation(43, 7, point) ? 1 : 0;
  }
  CHECK(same_as_other_seed < 4500);  // 47 % would agree by chance
  for (const int times : count) CHECK(times > 50);
  CHECK(count[0] > count[3] * 10);
}
