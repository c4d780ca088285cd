#include "bench.hpp"

#include <creel/runtime/fork_join.hpp>

#include <cstdlib>

// fib(32): a tree of 7 million calls that do nothing, so that what is measured is the fork and the join.

namespace creel::bench {
namespace {

constexpr int kFib = 32;
constexpr std::int64_t kResult = 2'178'309;

[[gnu::noinline]] std::int64_t plain_fib(int n) { return n < 2 ? n : plain_fib(n - 1) + plain_fib(n - 2); }

constexpr double kCalls = 7'049'155;
constexpr int kCut = 16;  // below, the variant with a cutoff is sequential

template <int Cut>
std::int64_t fib(ForkJoinWorkerThread& worker, int n) {
  if (n < 2) return n;
  if (n < Cut) return plain_fib(n);
  const auto [first, second] = creel::fork_join(
      worker, [n](ForkJoinWorkerThread& w) { return fib<Cut>(w, n - 1); },
      [n](ForkJoinWorkerThread& w) { return fib<Cut>(w, n - 2); });
  return first + second;
}

void check(std::int64_t result) {
  if (result != kResult) std::abort();
}

}  // namespace

void fork_join(const Report& report) {
  volatile int n = kFib;
  if (report.wants("fib32.seq")) {
    report.line("fib32.seq", "creel", best_ns(5, [&] { check(plain_fib(n)); }) / 1e6, "ms");
  }
  for (const std::size_t workers : {1U, 2U}) {
    const std::string suffix = ".p" + std::to_string(workers);
    ForkJoinPool pool(workers);
    if (report.wants("fib32.nocut" + suffix)) {
      const double ns =
          best_ns(8, [&] { check(pool.invoke([&](auto& worker) { return fib<0>(worker, n); })); });
      report.line("fib32.nocut" + suffix, "creel", ns / kCalls, "ns/task");
    }
    if (report.wants("fib32.cut16" + suffix)) {
      const double ns =
          best_ns(12, [&] { check(pool.invoke([&](auto& worker) { return fib<kCut>(worker, n); })); });
      report.line("fib32.cut16" + suffix, "creel", ns / 1e6, "ms");
    }
  }
}

}  // namespace creel::bench
