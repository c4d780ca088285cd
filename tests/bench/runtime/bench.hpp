#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <regex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The benchmark of the runtime: what its parts share. One process measures one group, so that a group finds a
// process that nothing has warmed or littered, and a number of carriers of its own.

namespace creel::bench {

/// Prints `metric peer value unit` for metrics that were asked for.
class Report {
 public:
  explicit Report(std::regex only) : only_(std::move(only)) {}

  bool wants(std::string_view metric) const { return std::regex_search(std::string(metric), only_); }
  void line(std::string_view metric, std::string_view peer, double value, const char* unit) const;

 private:
  std::regex only_;
};

/// The shortest of `times` calls, in nanoseconds.
template <typename Body>
double best_ns(int times, Body&& body) {
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i < times; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

/// Keeps `value` from being optimized away.
template <typename T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

double resident_bytes();

/// The longest time between two looks at the clock of a thread that does nothing else, while `body` runs:
/// what a dump takes from the program, as the program sees it. The operating system's part is in it too; so
/// it is the best of `times`.
double longest_gap_ms(int times, const std::function<void()>& body);

/// What one process measures.
struct Group {
  std::string_view name;
  std::vector<std::string_view> metrics;  ///< all that it may print
  int carriers = 0;                       ///< CREEL_CARRIERS for it; 0: not set
  /// How many threads it keeps parked for the attach client; 0: it just ends when it has measured.
  int target_threads = 0;
  std::function<void(const Report&)> run;
};

const std::vector<Group>& groups();

// One source file each.
void fork_join(const Report& report);
void submit(const Report& report);
void create_and_join(const Report& report);
void switches(const Report& report, int carriers);
void parked(const Report& report);
void locks(const Report& report);
void maps(const Report& report);
void deadlocks(const Report& report);
/// Parks `threads` threads, measures dumps of them within the process, then answers attach clients until
/// standard input ends.
void dumps(const Report& report, int threads);

}  // namespace creel::bench
