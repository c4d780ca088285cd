// A program for the JDK's tools to look at: threads in every kind of wait, three deadlocks, a busy one and a
// foreign one. Prints "ready" and its pid, then runs until its standard input ends or a line "exit" comes
// (then by exit()). With --parked N it has N threads parked 20 calls deep instead.
#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <latch>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>

namespace {

using namespace std::chrono_literals;

void start(std::string name, std::function<void()> body) {
  creel::Thread::of_platform().name(std::move(name)).daemon().start(std::move(body));
}

[[gnu::noinline]] void spin(const std::atomic<bool>& stop) {
  while (!stop.load(std::memory_order_relaxed)) std::this_thread::yield();
}

template <typename Lock>
void deadlock(const std::string& prefix, Lock& first, Lock& second) {
  static std::array<std::latch*, 2> latches{new std::latch(2), new std::latch(2)};
  std::latch& both = *latches[std::is_same_v<Lock, creel::Monitor> ? 0 : 1];
  start(prefix + "-1", [&] {
    const std::scoped_lock holding{first};
    both.arrive_and_wait();
    const std::scoped_lock never{second};
  });
  start(prefix + "-2", [&] {
    const std::scoped_lock holding{second};
    both.arrive_and_wait();
    const std::scoped_lock never{first};
  });
}

// Two threads that creel knows nothing of.
void deadlock_foreign_threads() {
  static std::mutex left, right;
  static std::latch both(2);
  for (const bool is_left : {true, false}) {
    std::thread([is_left] {
      ::pthread_setname_np(::pthread_self(), is_left ? "left-foreign" : "right-foreign");
      const std::lock_guard holding{is_left ? left : right};
      both.arrive_and_wait();
      const std::lock_guard never{is_left ? right : left};
    }).detach();
  }
}

// Kept from becoming a loop: the depth is what is measured.
[[gnu::noinline]] int park_deep(int depth, std::latch& parked) {
  if (depth == 0) {
    parked.count_down();
    creel::Thread::sleep(1h);
    return 0;
  }
  const int below = park_deep(depth - 1, parked);
  asm volatile("" ::: "memory");
  return below + 1;
}

void start_parked(int count) {
  static std::latch parked(count);
  for (int i = 0; i < count; ++i) start("worker-" + std::to_string(i), [] { park_deep(20, parked); });
  parked.wait();
}

}  // namespace

int main(int argc, char** argv) {
  creel::Diagnostics diagnostics{{.name = "dump_target", .arguments = {argv + 1, argv + argc}}};
  static std::atomic<bool> stop{false};
  // Never destroyed: threads wait for them to the end.
  static auto &accounts = *new creel::Monitor{"accounts"}, &orders = *new creel::Monitor{"orders"};
  static auto &left = *new creel::ReentrantLock{"left"}, &right = *new creel::ReentrantLock{"right"};
  static auto& queue = *new creel::ArrayBlockingQueue<int>{4};
  static std::mutex foreign;
  if (argc == 3 && std::string_view(argv[1]) == "--parked") {
    start_parked(std::atoi(argv[2]));
  } else {
    deadlock("monitors", accounts, orders);
    deadlock("locks", left, right);
    start("taker", [] { queue.take(); });
    start("sleeper", [] { creel::Thread::sleep(1h); });
    start("spinner", [] { spin(stop); });
    start("decode-0", [] {
      const creel::Activity activity{"stage decode, item 000123 of train-000000.tar"};
      creel::Thread::sleep(1h);
    });
    deadlock_foreign_threads();
    foreign.lock();
    std::thread([] { const std::lock_guard guard{foreign}; }).detach();
  }

  std::printf("ready %d\n", ::getpid());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "exit") std::exit(0);
  }
  stop = true;
  return 0;
}
