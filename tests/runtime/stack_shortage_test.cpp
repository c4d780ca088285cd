// What becomes of virtual threads for whose stacks there is no memory.
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/semaphore.hpp>
#include <creel/runtime/task_scope.hpp>
#include <creel/runtime/thread.hpp>

#include <creel_test/child_process.hpp>
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel_test::Expectations;

namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20;

// As much address space as the process has, and so much more. Threads of the system come before that.
void leave_room_for(std::size_t bytes) {
  Thread::of_virtual().start([] {}).join();
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t limit = pages * static_cast<std::size_t>(::getpagesize()) + bytes;
  const rlimit room{limit, limit};
  ::setrlimit(RLIMIT_AS, &room);
  creel::log::set_level(creel::log::Level::Off);
}

// A virtual thread that has its stack before all others. Whoever was started before it is woken stands before
// it in the carriers' queues: once it has run, they have had their turn, or tried to.
class LastInLine {
 public:
  void let_all_try() {
    for (int round = 0; round < 4; ++round) {
      woken_.release();
      ran_.acquire();
    }
  }

 private:
  creel::Semaphore woken_{0}, ran_{0};
  const Thread thread_ = Thread::of_virtual().start([this] {
    for (int round = 0; round < 4; ++round) {
      woken_.acquire();
      ran_.release();
    }
  });
};

// More than there are stacks for, as they come in pieces of 64 MiB.
constexpr int kCrowd = 5'000;

}  // namespace

TEST_CASE("virtual threads without a stack begin when others end: all of a crowd run") {
  if (!creel_test::kChildMayStartThreads) return;
  CHECK(creel_test::run_in_child([](Expectations& expect) {
          leave_room_for(150 * kMebibyte);
          LastInLine last;
          creel::CountDownLatch gate{1};
          std::atomic<int> waiting{0}, ran{0};
          std::vector<Thread> threads;
          for (int i = 0; i < kCrowd; ++i) {
            threads.push_back(Thread::of_virtual().start([&] {
              ++waiting;
              gate.await();
              ++ran;
            }));
          }
          last.let_all_try();
          expect(waiting < kCrowd, "there is not room for all");
          gate.count_down();
          for (const Thread& thread : threads) expect(thread.join(60s), "a thread ends");
          expect(ran == kCrowd, "all ran");
        }) == "");
}

TEST_CASE("executors and scopes whose threads get no stack at once come to their end") {
  if (!creel_test::kChildMayStartThreads) return;
  CHECK(creel_test::run_in_child([](Expectations& expect) {
          leave_room_for(150 * kMebibyte);
          LastInLine last, last_again;
          creel::CountDownLatch gate{1}, gate_again{1};
          int sum = 0;
          {
            const auto executor = creel::executors::new_virtual_thread_per_task_executor();
            std::vector<creel::Future<int>> results;
            for (int i = 0; i < kCrowd; ++i) {
              results.push_back(executor->submit([&] {
                gate.await();
                return 1;
              }));
            }
            last.let_all_try();
            gate.count_down();
            for (const creel::Future<int>& result : results) sum += result.get(60s);
          }
          expect(sum == kCrowd, "all tasks had their result");
          creel::TaskScope scope{creel::joiners::all_successful_or_throw<int>(),
                                 {.name = "crowd", .deadline = 60s}};
          for (int i = 0; i < kCrowd; ++i) {
            scope.fork([&] {
              gate_again.await();
              return 1;
            });
          }
          last_again.let_all_try();
          gate_again.count_down();
          expect(scope.join().size() == static_cast<std::size_t>(kCrowd), "all subtasks, too");
        }) == "");
}

TEST_CASE("a virtual thread that can never get a stack ends with an error that its handler gets") {
  if (!creel_test::kChildMayStartThreads) return;
  CHECK(creel_test::run_in_child([](Expectations& expect) {
          leave_room_for(100 * kMebibyte);
          std::string said;
          bool ran = false;
          const Thread thread =
              Thread::of_virtual()
                  .stack_size(200 * kMebibyte)
                  .uncaught_exception_handler([&](const Thread&, std::exception_ptr failure) {
                    try {
                      std::rethrow_exception(failure);
                    } catch (const std::exception& error) {
                      said = error.what();
                    }
                  })
                  .start([&] { ran = true; });
          expect(thread.join(60s), "it ends");
          expect(!ran, "it cannot run");
          expect(said.find("no address space for stacks of virtual threads") != std::string::npos, said);
          // Others are not disturbed.
          expect(Thread::of_virtual().start([] {}).join(60s), "a smaller one runs");
        }) == "");
}
