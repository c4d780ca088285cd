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
    struct Step {
      std::size_t call;
      typename Spec::State before;
    };
    std::string done(history_.size(), '0');
    std::vector<Step> steps;
    std::unordered_set<std::string> tried;
    std::size_t first_open = 0;  // all before are done
    std::size_t next = 0;
    for (std::size_t tries = 0; steps.size() < history_.size();) {
      next = next_candidate(done, first_open, next);
      if (next == history_.size()) {  // nothing else can come here: take the last step back
        if (steps.empty()) return Verdict::NotLinearizable;
        state_ = std::move(steps.back().before);
        done[steps.back().call] = '0';
        next = steps.back().call + 1;
        first_open = std::min(first_open, steps.back().call);
        steps.pop_back();
        continue;
      }
      if (++tries > most_tries) return Verdict::Undecided;
      typename Spec::State after = state_;
      const std::size_t call = next++;
      if (!Spec::apply(after, history_[call].operation)) continue;
      done[call] = '1';
      if (!tried.insert(done + std::string(Spec::key(after))).second) {
        done[call] = '0';
        continue;
      }
      steps.push_back({call, std::exchange(state_, std::move(after))});
      while (first_open < done.size() && done[first_open] == '1') ++first_open;
      next = first_open;
    }
    return Verdict::Linearizable;
  }

 private:
  // The first open call from `from` on that may come next: none of the open ones had returned when it
  // started.
  std::size_t next_candidate(const std::string& done, std::size_t first_open, std::size_t from) const {
    std::uint64_t earliest_end = std::numeric_limits<std::uint64_t>::max();
    for (std::size_t i = first_open; i < history_.size() && history_[i].start < earliest_end; ++i) {
      if (done[i] == '1') continue;
      if (i >= from) return i;
      earliest_end = std::min(earliest_end, history_[i].end);
    }
    return history_.size();
  }

  History history_;
  typename Spec::State state_;
};

template <SequentialSpec Spec>
Verdict check_linearizability(std::vector<Call<typename Spec::Operation>> history,
                              typename Spec::State initial = {}) {
  return LinearizabilityChecker<Spec>(std::move(history), std::move(initial)).check();
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
