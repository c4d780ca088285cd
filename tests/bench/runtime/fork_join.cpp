#include "bench.hpp"

#include <cstdlib>

// fib(32): a tree of 7 million calls that do nothing, so that what is measured is the fork and the join.

namespace creel::bench {
namespace {

constexpr int kFib = 32;
constexpr std::int64_t kResult = 2'178'309;

[[gnu::noinline]] std::int64_t plain_fib(int n) { return n < 2 ? n : plain_fib(n - 1) + plain_fib(n - 2); }

void check(std::int64_t result) {
  if (result != kResult) std::abort();
}

}  // namespace

void fork_join(const Report& report) {
  volatile int n = kFib;
  if (report.wants("fib32.seq")) {
    report.line("fib32.seq", "creel", best_ns(5, [&] { check(plain_fib(n)); }) / 1e6, "ms");
  }
}

}  // namespace creel::bench
