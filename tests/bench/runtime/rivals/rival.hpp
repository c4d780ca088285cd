// Shared by the rivals in C++; they do not use creel.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

constexpr int kFib = 32;
constexpr double kFibCalls = 7'049'155;  // of fib(32)
constexpr int kCut = 16;                 // below, the variant with a cutoff is sequential

inline double now_ns() {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

template <typename Body>
double best_ns(int times, Body&& body) {
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i < times; ++i) {
    const double start = now_ns();
    body();
    best = std::min(best, now_ns() - start);
  }
  return best;
}

inline void report(const std::string& metric, const char* peer, double value, const char* unit) {
  std::printf("%s %s %.3f %s\n", metric.c_str(), peer, value, unit);
  std::fflush(stdout);
}

[[gnu::noinline]] inline std::int64_t plain_fib(int n) {
  return n < 2 ? n : plain_fib(n - 1) + plain_fib(n - 2);
}
