// Boost.Fiber, and the bare Boost.Context under it.
#include "rival.hpp"

#include <boost/context/fiber.hpp>
#include <boost/fiber/all.hpp>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace fibers = boost::fibers;

namespace {

constexpr int kMillion = 1'000'000;

template <typename Body>
fibers::fiber start(fibers::pooled_fixedsize_stack& stacks, Body body) {
  return fibers::fiber(fibers::launch::post, std::allocator_arg, stacks, std::move(body));
}

void create_and_join() {
  fibers::pooled_fixedsize_stack stacks(16 * 1024);
  const double one_by_one = best_ns(2, [&] {
    for (int i = 0; i < kMillion / 4; ++i) start(stacks, [] {}).join();
  });
  report("vt.create_join.seq", "boost-fiber-rr", one_by_one / (kMillion / 4), "ns");
  std::vector<fibers::fiber> batch(1000);
  const double batches = best_ns(2, [&] {
    for (int i = 0; i < kMillion / 1000; ++i) {
      for (fibers::fiber& fiber : batch) fiber = start(stacks, [] {});
      for (fibers::fiber& fiber : batch) fiber.join();
    }
  });
  report("vt.create_join.batch1000", "boost-fiber-rr", batches / kMillion, "ns");
  std::vector<fibers::fiber> all(kMillion / 10);
  const double at_once = best_ns(2, [&] {
    for (fibers::fiber& fiber : all) fiber = start(stacks, [] {});
    for (fibers::fiber& fiber : all) fiber.join();
  });
  report("vt.create_join.all100k", "boost-fiber-rr", at_once / (kMillion / 10), "ns");
}

void switches() {
  fibers::pooled_fixedsize_stack stacks(64 * 1024);
  const double ping_pong = best_ns(3, [&] {
    fibers::unbuffered_channel<int> there;
    fibers::unbuffered_channel<int> back;
    fibers::fiber first = start(stacks, [&] {
      int got = 0;
      for (int i = 0; i < kMillion / 2; ++i) {
        there.push(i);
        back.pop(got);
      }
    });
    fibers::fiber second = start(stacks, [&] {
      int got = 0;
      for (int i = 0; i < kMillion / 2; ++i) {
        there.pop(got);
        back.push(got);
      }
    });
    first.join();
    second.join();
  });
  report("vt.pingpong", "boost-fiber-rr", ping_pong / kMillion, "ns/handoff");
  const auto yields = [] {
    for (int i = 0; i < kMillion; ++i) boost::this_fiber::yield();
  };
  const double yield = best_ns(3, [&] {
    fibers::fiber first = start(stacks, yields);
    fibers::fiber second = start(stacks, yields);
    first.join();
    second.join();
  });
  report("vt.yield", "boost-fiber-rr", yield / (2.0 * kMillion), "ns/switch");

  namespace context = boost::context;
  constexpr int kSwitches = 20 * kMillion;
  const double bare = best_ns(3, [] {
    context::fiber other([](context::fiber&& main) {
      for (;;) main = std::move(main).resume();
      return std::move(main);
    });
    for (int i = 0; i < kSwitches; ++i) other = std::move(other).resume();
  });
  report("vt.yield", "boost-context-raw", bare / (2.0 * kSwitches), "ns/switch");
}

double resident_bytes() {
  long total = 0;
  long resident = 0;
  if (FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld %ld", &total, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

void parked() {
  constexpr int kThreads = 100'000;
  fibers::mutex mutex;
  fibers::condition_variable opened;
  bool open = false;
  const double before = resident_bytes();
  std::vector<fibers::fiber> all;
  all.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    all.emplace_back(fibers::launch::dispatch, std::allocator_arg, fibers::fixedsize_stack(16 * 1024), [&] {
      std::unique_lock lock{mutex};
      opened.wait(lock, [&] { return open; });
    });
  }
  report("vt.parked100k", "boost-fiber-16k", (resident_bytes() - before) / kThreads, "bytes/vthread");
  {
    const std::unique_lock lock{mutex};
    open = true;
  }
  opened.notify_all();
  for (fibers::fiber& fiber : all) fiber.join();
}

}  // namespace

int main(int, char** argv) {
  const std::string group = argv[1] != nullptr ? argv[1] : "";
  if (group == "vt-create") create_and_join();
  if (group == "vt-switch-p1") switches();
  if (group == "vt-parked") parked();
}
