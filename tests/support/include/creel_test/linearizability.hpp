#pragma once

#include <creel/runtime/thread.hpp>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

// Is what several threads saw of an object explained by some order of their calls, one at a time, in which
// each call lies between its start and its return? Then the history is linearizable (M. Herlihy and J. Wing,
// TOPLAS 1990).

namespace creel_test {

/// One call that returned: when, on which thread, and `Operation`, what was asked and answered.
template <typename Operation>
struct Call {
  std::uint64_t start = 0, end = 0;
  std::size_t thread = 0;
  Operation operation;
};

/// A sequential object: its state, and whether an operation may have the answer that it had, which then
/// changes the state. `key` is a value that is equal for equal states only.
template <typename Spec>
concept SequentialSpec = requires(typename Spec::State state, const typename Spec::State& seen,
                                  const typename Spec::Operation& done) {
  { Spec::apply(state, done) } -> std::same_as<bool>;
  { Spec::key(seen) } -> std::convertible_to<std::string>;
};

/// An object at which calls meet: some happen at one moment with another, and each sees what the other did,
/// as at a door or in a swap. `apply_pair` says whether two calls may happen so, in either order of
/// arguments. (Set-linearizability: G. Neiger, PODC 1994.)
template <typename Spec>
concept MeetingSpec = SequentialSpec<Spec> &&
    requires(typename Spec::State state, const typename Spec::Operation& done) {
  { Spec::apply_pair(state, done, done) } -> std::same_as<bool>;
};

enum class Verdict : std::uint8_t { Linearizable, NotLinearizable, Undecided };

/// Searches for such an order.
///
/// Source: J. Wing and C. Gong, Testing and Verifying Concurrent Objects, JPDC 1993; that a pair of calls
/// done and state reached is not tried twice: G. Lowe, Testing for Linearizability, CCPE 2017.
template <SequentialSpec Spec>
class LinearizabilityChecker {
 public:
  using History = std::vector<Call<typename Spec::Operation>>;

  explicit LinearizabilityChecker(History history, typename Spec::State initial = {})
      : history_(std::move(history)), state_(std::move(initial)) {
    std::sort(history_.begin(), history_.end(),
              [](const auto& a, const auto& b) { return a.start < b.start; });
  }

  /// Undecided after so many tries of a call.
  Verdict check(std::size_t most_tries = 2'000'000) {
    std::string done(history_.size(), '0');
    std::size_t left = history_.size();
    std::vector<Step> steps;
    std::unordered_set<std::string> tried;
    std::vector<Move> moves = moves_from(done);
    for (std::size_t tries = 0, next = 0; left > 0;) {
      if (next == moves.size()) {  // nothing else can come here: take the last step back
        if (steps.empty()) return Verdict::NotLinearizable;
        Step& last = steps.back();
        state_ = std::move(last.before);
        moves = std::move(last.moves);
        next = last.taken + 1;
        left += mark(done, moves[last.taken], '0');
        steps.pop_back();
        continue;
      }
      if (++tries > most_tries) return Verdict::Undecided;
      const std::size_t taken = next++;
      typename Spec::State after = state_;
      if (!applies(after, moves[taken])) continue;
      const std::size_t count = mark(done, moves[taken], '1');
      if (!tried.insert(done + std::string(Spec::key(after))).second) {
        mark(done, moves[taken], '0');
        continue;
      }
      left -= count;
      std::vector<Move> further = moves_from(done);
      steps.push_back(
          {std::exchange(moves, std::move(further)), taken, std::exchange(state_, std::move(after))});
      next = 0;
    }
    return Verdict::Linearizable;
  }

 private:
  /// One call, or two that meet.
  struct Move {
    std::size_t first, second;
  };
  struct Step {
    std::vector<Move> moves;
    std::size_t taken;
    typename Spec::State before;
  };

  bool applies(typename Spec::State& state, const Move& move) const {
    if (move.first == move.second) return Spec::apply(state, history_[move.first].operation);
    if constexpr (MeetingSpec<Spec>) {
      return Spec::apply_pair(state, history_[move.first].operation, history_[move.second].operation);
    }
    return false;
  }

  static std::size_t mark(std::string& done, const Move& move, char as) {
    done[move.first] = done[move.second] = as;
    return move.first == move.second ? 1 : 2;
  }

  // What may come next: open calls of which none had returned when another one of them started.
  std::vector<Move> moves_from(const std::string& done) const {
    std::vector<std::size_t> open;
    std::uint64_t earliest_end = std::numeric_limits<std::uint64_t>::max();
    for (std::size_t i = 0; i < history_.size() && history_[i].start < earliest_end; ++i) {
      if (done[i] == '1') continue;
      open.push_back(i);
      earliest_end = std::min(earliest_end, history_[i].end);
    }
    std::vector<Move> moves;
    for (const std::size_t call : open) moves.push_back({call, call});
    if constexpr (MeetingSpec<Spec>) {
      for (std::size_t i = 0; i < open.size(); ++i) {
        for (std::size_t j = i + 1; j < open.size(); ++j) moves.push_back({open[i], open[j]});
      }
    }
    return moves;
  }

  History history_;
  typename Spec::State state_;
};

template <SequentialSpec Spec>
Verdict check_linearizability(std::vector<Call<typename Spec::Operation>> history,
                              typename Spec::State initial = {}) {
  return LinearizabilityChecker<Spec>(std::move(history), std::move(initial)).check();
}

/// What call `i` of a thread shall do: differs from round to round and is the same in each run.
inline unsigned draw_of(int round, std::size_t thread, std::size_t i) {
  std::minstd_rand random(static_cast<unsigned>(round) * 7919u + static_cast<unsigned>(thread * 131 + i) + 1);
  random.discard(3);
  return static_cast<unsigned>(random());
}

/// Runs `operation(thread, i)` `calls` times on each of `threads` threads at once, every other one virtual,
/// and notes when each began and returned. Time is one counter, so that no two clocks can disagree.
template <typename Operation, typename Body>
std::vector<Call<Operation>> record_history(std::size_t threads, std::size_t calls, Body body) {
  std::atomic<std::uint64_t> now{0};
  std::atomic<std::size_t> ready{0};
  std::vector<std::vector<Call<Operation>>> seen(threads);
  std::vector<creel::Thread> running;
  for (std::size_t t = 0; t < threads; ++t) {
    auto builder = t % 2 == 0 ? creel::Thread::of_platform() : creel::Thread::of_virtual();
    running.push_back(builder.start([&, t] {
      seen[t].reserve(calls);
      for (++ready; ready < threads;) creel::Thread::yield();
      for (std::size_t i = 0; i < calls; ++i) {
        const std::uint64_t start = now.fetch_add(1);
        Operation operation = body(t, i);
        seen[t].push_back({start, now.fetch_add(1), t, std::move(operation)});
      }
    }));
  }
  for (const creel::Thread& thread : running) thread.join();
  std::vector<Call<Operation>> history;
  for (auto& calls_of_thread : seen) {
    history.insert(history.end(), std::make_move_iterator(calls_of_thread.begin()),
                   std::make_move_iterator(calls_of_thread.end()));
  }
  return history;
}

}  // namespace creel_test
