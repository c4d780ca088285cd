// Exchangers, synchronous and transfer queues: calls that wait for each other. See
// creel_test/linearizability.hpp.
#include "creel_test/linearizability.hpp"
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/exchanger.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/linked_transfer_queue.hpp>
#include <creel/runtime/synchronous_queue.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace {

using creel_test::Call;
using creel_test::check_linearizability;
using creel_test::draw_of;
using creel_test::record_history;
using creel_test::Verdict;

constexpr std::size_t kThreads = 4;
constexpr std::size_t kCalls = 8;
constexpr int kRounds = creel_test::kThreadSanitizer ? 60 : 300;

// What meets at a door or in a swap: `gives` and `gets`, kNothing for either where there is none. A call that
// nobody met leaves both as they were.
constexpr int kNothing = -1;
struct Meeting {
  int gives = kNothing;
  int gets = kNothing;
  bool met = false;
};
struct MeetingsSpec {
  using State = int;
  using Operation = Meeting;
  static bool apply(int&, const Meeting& call) { return !call.met; }
  static bool apply_pair(int&, const Meeting& a, const Meeting& b) {
    return a.met && b.met && a.gets == b.gives && b.gets == a.gives;
  }
  static std::string key(int) { return ""; }
};

// How many rounds of calls at a `Place`, made anew for each, are not explained.
template <typename Make, typename Meet>
std::size_t meetings_refused(Make make, Meet meet) {
  std::size_t refused = 0;
  std::ptrdiff_t met = 0;
  for (int round = 0; round < kRounds; ++round) {
    auto place = make();
    const auto history = record_history<Meeting>(kThreads, kCalls, [&](std::size_t thread, std::size_t i) {
      const auto limit = std::chrono::microseconds(draw_of(round, thread, i) % 200);
      return meet(*place, thread, static_cast<int>(thread * kCalls + i), limit);
    });
    met += std::count_if(history.begin(), history.end(), [](const auto& call) { return call.operation.met; });
    const Verdict verdict = check_linearizability<MeetingsSpec>(history);
    CHECK(verdict != Verdict::Undecided);
    refused += verdict == Verdict::NotLinearizable ? 1 : 0;
  }
  CHECK(met > kRounds);  // else it shows nothing
  return refused;
}

// Half of the threads give at a queue, half take.
Meeting meet_at(creel::BlockingQueue<int>& door, std::size_t thread, int element,
                std::chrono::microseconds limit) {
  if (thread % 4 < 2) {
    const bool given = door.offer(element, limit);
    return {given ? element : kNothing, kNothing, given};
  }
  const std::optional<int> got = door.poll(limit);
  return {kNothing, got.value_or(kNothing), got.has_value()};
}

template <typename Exchanger>
Meeting swap_at(Exchanger& exchanger, std::size_t, int item, std::chrono::microseconds limit) {
  try {
    return {item, exchanger.exchange(item, limit), true};
  } catch (const creel::TimeoutError&) {
    return {};
  }
}

// Passes items round where it should swap them.
class PassingExchanger {
 public:
  int exchange(int item, creel::Deadline deadline) {
    items_.put(item);
    creel::Thread::yield();
    if (const std::optional<int> got = items_.poll(deadline)) return *got;
    throw creel::TimeoutError("nobody came");
  }

 private:
  creel::LinkedBlockingQueue<int> items_;
};

}  // namespace

TEST_CASE("the checker accepts and refuses meetings as it should") {
  using History = std::vector<Call<Meeting>>;
  const Meeting one{1, 2, true}, two{2, 1, true};
  CHECK(check_linearizability<MeetingsSpec>(History{{0, 2, 0, one}, {1, 3, 1, two}}) ==
        Verdict::Linearizable);
  CHECK(check_linearizability<MeetingsSpec>(History{{0, 1, 0, one}, {2, 3, 1, two}}) ==
        Verdict::NotLinearizable);
  CHECK(check_linearizability<MeetingsSpec>(History{{0, 1, 0, {}}, {2, 3, 1, {}}}) == Verdict::Linearizable);
  CHECK(check_linearizability<MeetingsSpec>(History{{0, 1, 0, one}}) == Verdict::NotLinearizable);
  // Round in a circle of three is no swap.
  CHECK(check_linearizability<MeetingsSpec>(
            History{{0, 9, 0, {1, 2, true}}, {1, 8, 1, {2, 3, true}}, {2, 7, 2, {3, 1, true}}}) ==
        Verdict::NotLinearizable);
}

TEST_CASE("a synchronous queue is linearizable: a put and a take happen at one moment") {
  using Queue = creel::SynchronousQueue<int>;
  for (const Queue::Fairness fairness : {Queue::Fairness::Unfair, Queue::Fairness::Fair})
    CHECK(meetings_refused([&] { return std::make_unique<Queue>("door", fairness); }, meet_at) == 0);
}

TEST_CASE("a queue with room for one is no synchronous queue, and is found out") {
  CHECK(meetings_refused([] { return std::make_unique<creel::ArrayBlockingQueue<int>>(1u); }, meet_at) > 0);
}

TEST_CASE("an exchanger is linearizable: two swap at one moment") {
  CHECK(meetings_refused([] { return std::make_unique<creel::Exchanger<int>>(); },
                         swap_at<creel::Exchanger<int>>) == 0);
}

TEST_CASE("an exchanger that passes items on is found out") {
  CHECK(meetings_refused([] { return std::make_unique<PassingExchanger>(); }, swap_at<PassingExchanger>) > 0);
}

namespace {

// A transfer is two steps: its element comes into the queue, and then is taken, or leaves it again.
struct TransferCall {
  enum class What : std::uint8_t { Put, Taken, Withdrawn, Poll, Size };
  What what;
  int element = 0;  // that comes or goes; kNothing: the poll had none
};
struct TransferSpec {
  struct State {
    std::vector<int> queue;
    std::set<int> taken;
  };
  using Operation = TransferCall;
  static bool apply(State& state, const TransferCall& call) {
    const auto at = std::find(state.queue.begin(), state.queue.end(), call.element);
    switch (call.what) {
      case TransferCall::What::Put:
        state.queue.push_back(call.element);
        return true;
      case TransferCall::What::Taken:
        return state.taken.count(call.element) == 1;
      case TransferCall::What::Withdrawn:
        if (at == state.queue.end()) return false;
        state.queue.erase(at);
        return true;
      case TransferCall::What::Poll:
        if (state.queue.empty()) return call.element == kNothing;
        if (at != state.queue.begin()) return false;
        state.taken.insert(call.element);
        state.queue.erase(at);
        return true;
      case TransferCall::What::Size:
        return call.element == static_cast<int>(state.queue.size());
    }
    return false;
  }
  static std::string key(const State& state) {
    std::string text;
    for (const int element : state.queue) text += ' ' + std::to_string(element);
    for (const int element : state.taken) text += '-' + std::to_string(element);
    return text;
  }
};

template <typename Queue>
std::size_t transfers_refused() {
  using Step = TransferCall::What;
  std::size_t refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    Queue queue;
    auto history = record_history<TransferCall>(kThreads, kCalls, [&](std::size_t thread, std::size_t i) {
      const unsigned draw = draw_of(round, thread, i);
      const int element = static_cast<int>(thread * kCalls + i);
      const auto limit = std::chrono::microseconds(draw / 16 % 200);
      if (draw % 8 < 3)
        return TransferCall{queue.try_transfer(element, limit) ? Step::Taken : Step::Withdrawn, element};
      if (draw % 8 < 4) {
        queue.put(element);
        return TransferCall{Step::Put, element};
      }
      if (draw % 8 < 7) return TransferCall{Step::Poll, queue.poll(limit).value_or(kNothing)};
      return TransferCall{Step::Size, static_cast<int>(queue.size())};
    });
    for (std::size_t i = 0, count = history.size(); i < count; ++i) {
      const TransferCall& second = history[i].operation;
      if (second.what != Step::Taken && second.what != Step::Withdrawn) continue;
      Call<TransferCall> first = history[i];
      first.operation.what = Step::Put;
      history.push_back(first);
    }
    const Verdict verdict = check_linearizability<TransferSpec>(history);
    CHECK(verdict != Verdict::Undecided);
    refused += verdict == Verdict::NotLinearizable ? 1 : 0;
  }
  return refused;
}

// Says that an element was taken when it is only in the queue.
class HastyTransferQueue {
 public:
  bool try_transfer(int element, creel::Deadline) { return queue_.offer(element); }
  void put(int element) { queue_.put(element); }
  std::optional<int> poll(creel::Deadline deadline) { return queue_.poll(deadline); }
  std::size_t size() const { return queue_.size(); }

 private:
  creel::LinkedTransferQueue<int> queue_;
};

}  // namespace

TEST_CASE("a transfer queue is linearizable, transfers as two steps") {
  CHECK(transfers_refused<creel::LinkedTransferQueue<int>>() == 0);
}

TEST_CASE("a transfer queue that does not wait for the taker is found out") {
  CHECK(transfers_refused<HastyTransferQueue>() > 0);
}
