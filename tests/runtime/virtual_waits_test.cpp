// Virtual threads by the ten thousand in each kind of wait on two carriers, while another one ticks.

#include "creel_test/eventually.hpp"
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/completable_future.hpp>
#include <creel/runtime/condition.hpp>
#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/cyclic_barrier.hpp>
#include <creel/runtime/delay_queue.hpp>
#include <creel/runtime/exchanger.hpp>
#include <creel/runtime/linked_blocking_deque.hpp>
#include <creel/runtime/linked_blocking_queue.hpp>
#include <creel/runtime/linked_transfer_queue.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/phaser.hpp>
#include <creel/runtime/priority_blocking_queue.hpp>
#include <creel/runtime/process.hpp>
#include <creel/runtime/process_builder.hpp>
#include <creel/runtime/read_write_lock.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/semaphore.hpp>
#include <creel/runtime/synchronous_queue.hpp>
#include <creel/runtime/task_scope.hpp>
#include <creel/runtime/thread_dump.hpp>
#include <creel/runtime/unix_socket.hpp>

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using creel::Thread;
using creel::ThreadState;

namespace {

constexpr std::size_t kCrowd = creel_test::kThreadSanitizer ? 500 : 10'000;

struct Wait {
  std::function<void(std::size_t)> body;  // of the thread with that number
  std::function<void()> release;          // lets all of them go on
  std::size_t count = kCrowd;
};

struct Kind {
  const char* name;
  std::function<Wait()> make;
};

template <typename Lock>
Wait enter_wait() {
  auto lock = std::make_shared<Lock>();
  lock->lock();
  return {[lock](std::size_t) { const std::lock_guard guard{*lock}; }, [lock] { lock->unlock(); }};
}

template <typename Queue, typename... Arguments>
Wait take_wait(Arguments... arguments) {
  auto queue = std::make_shared<Queue>(arguments...);
  return {[queue](std::size_t) { CHECK_FALSE(queue->take()); }, [queue] { queue->close(); }};
}

// Elements that are put by threads which wait for room, or for a taker.
template <typename Queue, typename Put>
Wait put_wait(Put put) {
  auto queue = std::make_shared<Queue>();
  return {[queue, put](std::size_t) { put(*queue); },
          [queue] {
            for (std::size_t i = 0; i < kCrowd; ++i) queue->take();
          }};
}

Wait monitor_wait() {
  auto monitor = std::make_shared<creel::Monitor>();
  auto open = std::make_shared<bool>(false);
  return {[=](std::size_t) {
            const std::lock_guard guard{*monitor};
            monitor->wait([&] { return *open; });
          },
          [=] {
            const std::lock_guard guard{*monitor};
            *open = true;
            monitor->notify_all();
          }};
}

Wait condition_wait() {
  struct Gate {
    creel::ReentrantLock lock;
    creel::Condition opened{lock};
    bool open = false;
  };
  auto gate = std::make_shared<Gate>();
  return {[gate](std::size_t) {
            const std::lock_guard guard{gate->lock};
            gate->opened.await([&] { return gate->open; });
          },
          [gate] {
            const std::lock_guard guard{gate->lock};
            gate->open = true;
            gate->opened.signal_all();
          }};
}

Wait read_wait() {
  auto lock = std::make_shared<creel::ReentrantReadWriteLock>();
  lock->lock();
  return {[lock](std::size_t) {
            lock->lock_shared();
            lock->unlock_shared();
          },
          [lock] { lock->unlock(); }};
}

Wait semaphore_wait() {
  auto semaphore = std::make_shared<creel::Semaphore>(0);
  return {[semaphore](std::size_t) { semaphore->acquire(); }, [semaphore] { semaphore->release(kCrowd); }};
}

Wait latch_wait() {
  auto latch = std::make_shared<creel::CountDownLatch>(1);
  return {[latch](std::size_t) { latch->await(); }, [latch] { latch->count_down(); }};
}

Wait barrier_wait() {
  auto barrier = std::make_shared<creel::CyclicBarrier>(static_cast<std::uint32_t>(kCrowd) + 1);
  return {[barrier](std::size_t) { barrier->await(); }, [barrier] { barrier->await(); }};
}

Wait phaser_wait() {
  auto phaser = std::make_shared<creel::Phaser>(1);
  return {[phaser](std::size_t) { phaser->await_advance(0); }, [phaser] { phaser->arrive(); }};
}

Wait future_wait() {
  auto promise = std::make_shared<creel::Promise<int>>();
  return {[future = promise->future()](std::size_t) { CHECK(future.get() == 7); },
          [promise] { promise->set_value(7); }};
}

Wait completable_future_wait() {
  auto source = std::make_shared<creel::CompletableFuture<int>>();
  auto future = source->then_apply([](int value) { return value + 1; });
  return {[future](std::size_t) { CHECK(future.get() == 8); }, [source] { source->complete(7); }};
}

Wait join_wait() {
  auto latch = std::make_shared<creel::CountDownLatch>(1);
  const Thread joined = Thread::of_virtual().start([latch] { latch->await(); });
  return {[joined](std::size_t) { CHECK(joined.join()); }, [latch] { latch->count_down(); }};
}

// Nothing but interrupt() ends it early, so that each thread says who it is.
Wait sleep_wait() {
  auto sleepers = std::make_shared<std::vector<Thread>>(kCrowd);
  return {[sleepers](std::size_t i) {
            (*sleepers)[i] = Thread::current();
            CHECK_THROWS_AS(Thread::sleep(1h), creel::InterruptedError);
          },
          [sleepers] {
            for (const Thread& sleeper : *sleepers) sleeper.interrupt();
          }};
}

Wait park_wait() {
  auto parked = std::make_shared<std::vector<Thread>>(kCrowd);
  auto open = std::make_shared<std::atomic<bool>>(false);
  return {[=](std::size_t i) {
            (*parked)[i] = Thread::current();
            while (!*open) creel::LockSupport::park({.object = open.get(), .type = "creel::Test"});
          },
          [=] {
            *open = true;
            for (const Thread& thread : *parked) creel::LockSupport::unpark(thread);
          }};
}

// One exchanger each: with a shared one the threads would find each other.
Wait exchanger_wait() {
  auto exchangers = std::make_shared<std::vector<creel::Exchanger<int>>>(kCrowd);
  return {[exchangers](std::size_t i) { CHECK((*exchangers)[i].exchange(1) == 2); },
          [exchangers] {
            for (creel::Exchanger<int>& exchanger : *exchangers) exchanger.exchange(2);
          }};
}

// Each thread waits for a subtask, which waits too.
Wait scope_wait() {
  auto latch = std::make_shared<creel::CountDownLatch>(1);
  return {[latch](std::size_t) {
            creel::TaskScope scope;
            scope.fork([latch] { latch->await(); });
            scope.join();
          },
          [latch] { latch->count_down(); }};
}

// A pair of sockets each, as far as the limit of descriptors goes.
Wait socket_wait() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t count = std::min<std::size_t>(kCrowd, (limit.rlim_cur - 200) / 2);
  using Pair = std::pair<creel::UnixSocket, creel::UnixSocket>;
  auto pairs = std::make_shared<std::vector<Pair>>();
  for (std::size_t i = 0; i < count; ++i) pairs->push_back(creel::UnixSocket::pair());
  return {[pairs](std::size_t i) {
            std::array<std::byte, 4> buffer;
            CHECK((*pairs)[i].first.read(buffer) == 1);
          },
          [pairs] {
            for (Pair& pair : *pairs) pair.second.write_all("x");
          },
          count};
}

Wait process_wait() {
  auto process = std::make_shared<creel::Process>(creel::ProcessBuilder{"cat"}.start());
  return {[process](std::size_t) { CHECK(process->wait_for().success()); },
          [process] { process->standard_input().close(); }};
}

// Each blocks a thread of the operating system, which takes the carrier's place.
Wait foreign_wait() {
  auto open = std::make_shared<std::atomic<bool>>(false);
  return {[open](std::size_t) { creel::blocking("a foreign call", [&] { open->wait(false); }); },
          [open] {
            *open = true;
            open->notify_all();
          },
          100};
}

struct Due {
  creel::Deadline when;
  creel::Deadline deadline() const { return when; }
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"Monitor enter", enter_wait<creel::Monitor>},
      {"Monitor wait", monitor_wait},
      {"ReentrantLock", enter_wait<creel::ReentrantLock>},
      {"fair ReentrantLock",
       [] {
         auto lock = std::make_shared<creel::ReentrantLock>(creel::ReentrantLock::Fairness::Fair);
         lock->lock();
         return Wait{[lock](std::size_t) { const std::lock_guard guard{*lock}; }, [lock] { lock->unlock(); }};
       }},
      {"Condition", condition_wait},
      {"ReadWriteLock, readers", read_wait},
      {"ReadWriteLock, writers", enter_wait<creel::ReentrantReadWriteLock>},
      {"Semaphore", semaphore_wait},
      {"CountDownLatch", latch_wait},
      {"CyclicBarrier", barrier_wait},
      {"Phaser", phaser_wait},
      {"ArrayBlockingQueue take", [] { return take_wait<creel::ArrayBlockingQueue<int>>(4); }},
      {"ArrayBlockingQueue put",
       [] {
         auto queue = std::make_shared<creel::ArrayBlockingQueue<int>>(1);
         queue->put(0);
         return Wait{[queue](std::size_t) { queue->put(1); },
                     [queue] {
                       for (std::size_t i = 0; i < kCrowd; ++i) queue->take();
                     }};
       }},
      {"LinkedBlockingQueue take", [] { return take_wait<creel::LinkedBlockingQueue<int>>(); }},
      {"LinkedBlockingDeque take", [] { return take_wait<creel::LinkedBlockingDeque<int>>(); }},
      {"PriorityBlockingQueue take", [] { return take_wait<creel::PriorityBlockingQueue<int>>(); }},
      {"DelayQueue take", [] { return take_wait<creel::DelayQueue<Due>>(); }},
      {"SynchronousQueue take", [] { return take_wait<creel::SynchronousQueue<int>>(); }},
      {"SynchronousQueue put",
       [] { return put_wait<creel::SynchronousQueue<int>>([](auto& queue) { queue.put(1); }); }},
      {"LinkedTransferQueue transfer",
       [] { return put_wait<creel::LinkedTransferQueue<int>>([](auto& queue) { queue.transfer(1); }); }},
      {"LinkedTransferQueue take", [] { return take_wait<creel::LinkedTransferQueue<int>>(); }},
      {"Future get", future_wait},
      {"CompletableFuture get", completable_future_wait},
      {"join", join_wait},
      {"sleep", sleep_wait},
      {"park", park_wait},
      {"Exchanger", exchanger_wait},
      {"TaskScope join", scope_wait},
      {"socket read", socket_wait},
      {"process wait", process_wait},
      {"blocking()", foreign_wait},
  };
  return all;
}

bool waits(const Thread& thread) {
  const ThreadState state = thread.state();
  return state == ThreadState::Waiting || state == ThreadState::TimedWaiting || state == ThreadState::Blocked;
}

// Ticks every 20 ms, and keeps how late it was at worst.
class Ticker {
 public:
  Ticker() {
    thread_ = Thread::of_virtual().name("ticker").start([this] {
      while (!stop_) {
        const creel::Deadline next = 20ms;
        Thread::sleep(next);
        const auto late = creel::Deadline::Clock::now() - next.time_point();
        worst_ = std::max(worst_, late);
        ++ticks_;
      }
    });
  }
  ~Ticker() {
    stop_ = true;
    thread_.join();
  }
  int ticks() const noexcept { return ticks_; }
  creel::Deadline::Clock::duration worst() {
    stop_ = true;
    thread_.join();
    return worst_;
  }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> ticks_{0};
  creel::Deadline::Clock::duration worst_{};
  Thread thread_;
};

std::size_t grouped(const creel::ThreadDump& dump) {
  const std::string text = dump.to_text();
  std::size_t largest = 0;
  constexpr std::string_view kMore = " more virtual threads with this stack";
  for (std::size_t at = text.find(kMore); at != std::string::npos; at = text.find(kMore, at + 1)) {
    const std::size_t begin = text.find_last_not_of("0123456789", at - 1) + 1;
    largest = std::max(largest, static_cast<std::size_t>(std::stoul(text.substr(begin, at - begin))));
  }
  return largest;
}

void block_and_release(const Kind& kind) {
  INFO(std::string(kind.name));
  const Wait wait = kind.make();
  std::atomic<std::size_t> done{0};
  std::vector<Thread> crowd;
  Ticker ticker;
  for (std::size_t i = 0; i < wait.count; ++i) {
    crowd.push_back(Thread::of_virtual().start([&, i] {
      wait.body(i);
      ++done;
    }));
  }
  const auto all_wait = [&] { return std::all_of(crowd.begin(), crowd.end(), waits); };
  REQUIRE(creel_test::eventually(all_wait, 60s));
  CHECK(done == 0);

  const int before = ticker.ticks();
  CHECK(creel_test::eventually([&] { return ticker.ticks() >= before + 2; }));  // a carrier is free for it
  if (wait.count > 5'000) CHECK(grouped(creel::ThreadDump::take()) > wait.count / 2);
  CHECK(all_wait());

  wait.release();
  for (const Thread& thread : crowd) REQUIRE(thread.join(60s));
  CHECK(done == wait.count);
  CHECK(ticker.worst() < (creel_test::kSanitizer ? 10s : 1s));
}

}  // namespace

TEST_SUITE_BEGIN("slow");

TEST_CASE("virtual threads by the ten thousand in each kind of wait while one ticks") {
  const char* carriers = std::getenv("CREEL_CARRIERS");
  if (carriers != nullptr && carriers == std::string_view("2")) {
    for (const Kind& kind : kinds()) block_and_release(kind);
    return;
  }
  // The number of carriers is that of the process: the same test again in a child that has two.
  creel::ProcessBuilder builder{"/proc/self/exe",
                                "--test-case=virtual threads by the ten thousand in each kind*"};
  builder.environment()["CREEL_CARRIERS"] = "2";
  builder.redirect_error_stream(true);
  const creel::Process child = builder.start();
  const bool ended = child.wait_for(200s).has_value();  // what it says fits into the pipe
  if (!ended) child.destroy_forcibly();
  CHECK(ended);
  const std::string said = child.standard_output().read_all_bytes();
  INFO(said);
  CHECK(child.wait_for().success());
  CHECK(said.find("1 passed | 0 failed") != std::string::npos);  // and not: no such test
}

TEST_SUITE_END();
