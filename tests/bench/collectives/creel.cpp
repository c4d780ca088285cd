// How long an all_reduce of float32 sums takes, beside what copying alone would.
//
//   bench_collectives [RANKS] [ALGORITHM]        2 ranks and auto by default
//   {"case":"memcpy","bytes":1048576,"us":…}     one rank copies the buffer, the ceiling of any algorithm
//   that stages
//   {"case":"all_reduce","algorithm":"auto","ranks":2,"bytes":1048576,"us":…,"us_p25":…,"us_p99":…}
//
// Times are medians over calls of the slower of the ranks. From 64 KiB up every rank rewrites its buffer and
// passes a barrier before each call, as a training step does: lines that the last call left in the other
// core's cache would make the next one look better than it is.

#include <creel/comm/group.hpp>

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace creel::comm;

constexpr std::size_t kSizes[] = {8,        1024,      8 << 10, 16 << 10,          32 << 10,
                                  64 << 10, 256 << 10, 1 << 20, 13'212'058 / 4 * 4};

double now_us() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::micro>(since).count();
}

double percentile(std::vector<double>& times, double p) {
  const auto at = static_cast<std::ptrdiff_t>(p * static_cast<double>(times.size() - 1));
  std::nth_element(times.begin(), times.begin() + at, times.end());
  return times[static_cast<std::size_t>(at)];
}

int calls_for(std::size_t bytes) { return bytes <= (64 << 10) ? 4000 : bytes <= (1 << 20) ? 1000 : 60; }

void measure_memcpy() {
  for (const std::size_t bytes : kSizes) {
    std::vector<float> from(bytes / 4, 1.0f);
    std::vector<float> to(bytes / 4);
    std::vector<double> times;
    for (int i = 0; i < calls_for(bytes); ++i) {
      std::fill(from.begin(), from.end(), static_cast<float>(i));
      const double start = now_us();
      std::memcpy(to.data(), from.data(), bytes);
      times.push_back(now_us() - start);
      if (to.back() != static_cast<float>(i)) std::abort();
    }
    std::printf("{\"case\":\"memcpy\",\"bytes\":%zu,\"us\":%.2f}\n", bytes, percentile(times, 0.5));
  }
  std::fflush(stdout);
}

// A processor of its own, so that neighbours' work does not push two ranks onto one.
void pin(int rank) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(rank % static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN))), &set);
  ::sched_setaffinity(0, sizeof(set), &set);
}

void run_rank(World& world, int rank, const std::string& algorithm, double* times) {
  pin(rank);
  Group group = Group::join(world, rank, {.all_reduce = algorithm});
  double* const mine = times + static_cast<std::size_t>(rank) * 4000;
  for (const std::size_t bytes : kSizes) {
    std::vector<float> data(std::max<std::size_t>(bytes / 4, 1), 1.0f);
    const int calls = calls_for(bytes);
    const bool rewrite = bytes >= (64 << 10);
    for (int i = -calls / 10; i < calls; ++i) {
      if (rewrite || i % 64 == 0) {
        std::fill(data.begin(), data.end(), 1.0f);
        group.barrier();
      }
      const double start = now_us();
      group.all_reduce({data.data(), bytes / 4, DType::F32}, ReduceOp::Sum);
      if (i >= 0) mine[i] = now_us() - start;
    }
    group.barrier();
    if (rank == 0) {
      std::vector<double> slowest(mine, mine + calls);
      for (int r = 1; r < world.size(); ++r) {
        for (int i = 0; i < calls; ++i) {
          double& slow = slowest[static_cast<std::size_t>(i)];
          slow = std::max(slow, times[r * 4000 + i]);
        }
      }
      std::printf(
          "{\"case\":\"all_reduce\",\"algorithm\":\"%s\",\"ranks\":%d,\"bytes\":%zu,\"us\":%.2f,\"us_p25\":%."
          "2f,"
          "\"us_p99\":%.2f}\n",
          algorithm.c_str(), world.size(), bytes, percentile(slowest, 0.5), percentile(slowest, 0.25),
          percentile(slowest, 0.99));
      std::fflush(stdout);
    }
    group.barrier();
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 2;
  const std::string algorithm = argc > 2 ? argv[2] : "auto";
  measure_memcpy();
  World world = World::create(ranks);
  const std::size_t table = static_cast<std::size_t>(ranks) * 4000 * sizeof(double);
  auto* times =
      static_cast<double*>(::mmap(nullptr, table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (times == MAP_FAILED) std::abort();
  for (int rank = 0; rank < ranks; ++rank) {
    if (::fork() == 0) {
      run_rank(world, rank, algorithm, times);
      ::_exit(0);
    }
  }
  int failed = 0;
  for (int status = 0; ::wait(&status) > 0;) failed += status != 0 ? 1 : 0;
  return failed == 0 ? 0 : 1;
}
