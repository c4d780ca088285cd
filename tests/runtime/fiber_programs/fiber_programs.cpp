// Programs in the style of Boost.Fiber's documentation, compiled twice without a change: with Boost.Fiber,
// and with creel::fiber_bridge in its place. FIBER_PROGRAMS tells the two apart.

#include "fiber_programs.hpp"

#include <boost/fiber/all.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
namespace fibers = boost::fibers;

namespace FIBER_PROGRAMS {
namespace {

using fiber_programs::Lines;
using Numbers = fibers::unbuffered_channel<int>;

// A fiber for each prime found so far, each taking its multiples out of the stream.
Lines sieve() {
  auto in = std::make_shared<Numbers>();
  std::vector<fibers::fiber> stages;
  stages.emplace_back([out = in] {
    for (int number = 2; number < 72; ++number) out->push(number);
    out->close();
  });
  Lines primes;
  int prime = 0;
  while (in->pop(prime) == fibers::channel_op_status::success) {
    primes.push_back(std::to_string(prime));
    auto out = std::make_shared<Numbers>();
    stages.emplace_back([in, out, prime] {
      for (int number : *in) {
        if (number % prime != 0) out->push(number);
      }
      out->close();
    });
    in = out;
  }
  for (fibers::fiber& stage : stages) stage.join();
  return primes;
}

Lines producers_and_consumers() {
  fibers::buffered_channel<int> jobs{8};
  std::vector<fibers::fiber> producers, consumers;
  std::atomic<long> sum{0};
  std::atomic<int> count{0};
  for (int p = 0; p < 5; ++p) {
    producers.emplace_back([&jobs, p] {
      for (int i = 0; i < 200; ++i) jobs.push(p * 200 + i);
    });
  }
  for (int c = 0; c < 3; ++c) {
    consumers.emplace_back([&] {
      int job = 0;
      while (jobs.pop(job) == fibers::channel_op_status::success) {
        sum += job;
        ++count;
      }
    });
  }
  for (fibers::fiber& producer : producers) producer.join();
  jobs.close();
  for (fibers::fiber& consumer : consumers) consumer.join();
  return {std::to_string(count), std::to_string(sum)};
}

Lines channel_states() {
  fibers::buffered_channel<std::string> channel{4};
  Lines lines;
  const auto note = [&](fibers::channel_op_status status) {
    constexpr const char* kNames[] = {"success", "empty", "full", "closed", "timeout"};
    lines.emplace_back(kNames[static_cast<int>(status)]);
  };
  std::string value;
  note(channel.try_pop(value));
  note(channel.pop_wait_for(value, 1ms));
  for (int i = 0; i < 4; ++i) note(channel.try_push(std::to_string(i)));
  note(channel.push_wait_for("late", 1ms));
  note(channel.push_wait_until("late", std::chrono::system_clock::now() + 1ms));
  note(channel.pop(value));
  lines.push_back(value);
  channel.close();
  note(channel.push("closed"));
  note(channel.try_push("closed"));
  for (const std::string& left : channel) lines.push_back("left " + left);
  note(channel.pop(value));
  note(channel.try_pop(value));
  try {
    channel.value_pop();
  } catch (const fibers::fiber_error& error) {
    lines.push_back(error.code() == std::errc::operation_not_permitted ? "not permitted" : error.what());
  }
  try {
    fibers::buffered_channel<int> odd{3};
  } catch (const fibers::fiber_error& error) {
    lines.push_back(error.code() == std::errc::invalid_argument ? "invalid" : error.what());
  }
  return lines;
}

Lines phases() {
  constexpr int kParties = 7, kPhases = 10;
  fibers::barrier barrier{kParties};
  std::vector<std::vector<int>> cells(kPhases + 1, std::vector<int>(kParties, 1));
  std::atomic<int> last{0};
  std::vector<fibers::fiber> workers;
  for (int w = 0; w < kParties; ++w) {
    workers.emplace_back(
        [&](int own) {
          for (int phase = 0; phase < kPhases; ++phase) {
            const auto& row = cells[phase];
            cells[phase + 1][own] = (row[own] + 3 * row[(own + 1) % kParties] + own) % 1000;
            if (barrier.wait()) ++last;
          }
        },
        w);
  }
  for (fibers::fiber& worker : workers) worker.join();
  Lines lines{"last came " + std::to_string(last) + " times"};
  for (const int cell : cells.back()) lines.push_back(std::to_string(cell));
  return lines;
}

int fibonacci(int n) {
  if (n < 2) return n;
  fibers::future<int> one = fibers::async(fibers::launch::dispatch, fibonacci, n - 1);
  const int two = fibonacci(n - 2);
  return one.get() + two;
}

Lines futures() {
  Lines lines{std::to_string(fibonacci(10))};
  const auto failing = [&](const char* what, auto call) {
    try {
      call();
      lines.push_back(std::string(what) + ": nothing thrown");
    } catch (const fibers::future_error& error) {
      lines.push_back(std::string(what) + ": " + error.code().message());
    } catch (const std::exception& error) {
      lines.push_back(std::string(what) + ": " + error.what());
    }
  };
  failing("async", [] { fibers::async([]() -> int { throw std::runtime_error("from a fiber"); }).get(); });
  failing("broken", [] {
    fibers::future<int> future;
    {
      fibers::promise<int> promise;
      future = promise.get_future();
    }
    future.get();
  });
  fibers::promise<std::string> promise;
  fibers::shared_future<std::string> shared = promise.get_future().share();
  lines.push_back(shared.wait_for(1ms) == fibers::future_status::timeout ? "not yet" : "?");
  fibers::fiber setter{[&] { promise.set_value("shared"); }};
  lines.push_back(shared.get() + " " + fibers::shared_future<std::string>(shared).get());
  setter.join();
  failing("twice", [&] { promise.set_value("again"); });
  failing("retrieved", [&] { promise.get_future(); });
  failing("no state", [] { fibers::future<void>().wait(); });
  fibers::packaged_task<int(int, int)> task{
      [factor = std::make_unique<int>(2)](int a, int b) { return *factor * (a + b); }};
  fibers::future<int> result = task.get_future();
  fibers::fiber{std::move(task), 3, 4}.join();
  lines.push_back(std::to_string(result.get()) + (result.valid() ? " valid" : " taken"));
  fibers::promise<void> nothing;
  nothing.set_value();
  nothing.get_future().get();
  fibers::async([] {}).get();
  fibers::promise<std::pair<int, int>> braced;
  braced.set_value({1, 2});
  lines.push_back(std::to_string(braced.get_future().get().second));
  fibers::promise<int&> by_reference;
  int target = 0;
  by_reference.set_value(target);
  by_reference.get_future().get() = 5;
  lines.push_back(std::to_string(target));
  fibers::future<std::unique_ptr<int>> moved =
      fibers::async([](int n) { return std::make_unique<int>(n); }, 9);
  lines.push_back(std::to_string(*moved.get()));
  return lines;
}

// The first of several results, as Boost.Fiber's guide does it: over a channel that is closed then.
Lines first_of_several() {
  auto channel = std::make_shared<fibers::buffered_channel<std::string>>(4);
  std::vector<fibers::fiber> racers;
  fibers::mutex mutex;
  fibers::condition_variable go_on;
  bool may_go_on = false;
  for (const std::string name : {"slow", "fast", "slower"}) {
    racers.emplace_back([&, name, channel] {
      if (name != "fast") {
        std::unique_lock<fibers::mutex> lock{mutex};
        go_on.wait(lock, [&] { return may_go_on; });
      }
      channel->push(name);
    });
  }
  Lines lines{channel->value_pop()};
  channel->close();
  {
    const std::unique_lock<fibers::mutex> lock{mutex};
    may_go_on = true;
  }
  go_on.notify_all();
  for (fibers::fiber& racer : racers) racer.join();
  return lines;
}

Lines locks() {
  Lines lines;
  const auto refused = [&](auto call) {
    try {
      call();
      lines.emplace_back("no error");
    } catch (const fibers::lock_error& error) {
      lines.emplace_back(error.code() == std::errc::resource_deadlock_would_occur ? "would deadlock"
                                                                                  : "not permitted");
    }
  };
  fibers::mutex mutex;
  refused([&] { mutex.unlock(); });
  mutex.lock();
  refused([&] { mutex.lock(); });
  refused([&] { mutex.try_lock(); });
  fibers::fiber{[&] { lines.emplace_back(mutex.try_lock() ? "taken" : "busy"); }}.join();
  mutex.unlock();
  fibers::recursive_timed_mutex recursive;
  recursive.lock();
  lines.emplace_back(recursive.try_lock() ? "again" : "busy");
  fibers::fiber{[&] { lines.emplace_back(recursive.try_lock_for(1ms) ? "taken" : "timeout"); }}.join();
  recursive.unlock();
  fibers::fiber{[&] {
    lines.emplace_back(recursive.try_lock_until(std::chrono::steady_clock::now() + 1ms) ? "taken"
                                                                                        : "still held");
  }}.join();
  recursive.unlock();
  long counter = 0;
  std::vector<fibers::fiber> workers;
  for (int w = 0; w < 8; ++w) {
    workers.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        const std::lock_guard<fibers::mutex> guard{mutex};
        ++counter;
        if (i % 100 == 0) boost::this_fiber::yield();
      }
    });
  }
  for (fibers::fiber& worker : workers) worker.join();
  lines.push_back(std::to_string(counter));
  fibers::recursive_mutex plain;
  fibers::condition_variable_any any;
  std::unique_lock<fibers::recursive_mutex> lock{plain};
  lines.emplace_back(any.wait_for(lock, 1ms) == fibers::cv_status::timeout ? "timeout" : "notified");
  lines.emplace_back(
      any.wait_until(lock, std::chrono::steady_clock::now() + 1ms, [] { return false; }) ? "?" : "never");
  return lines;
}

Lines handles() {
  Lines lines;
  static std::atomic<int> ended;
  ended = 0;
  fibers::fiber_specific_ptr<int> own{[](int* value) {
    ended += *value;
    delete value;
  }};
  std::vector<fibers::fiber> workers;
  std::atomic<int> seen{0};
  for (int i = 1; i <= 4; ++i) {
    workers.emplace_back(fibers::launch::post, std::allocator_arg, fibers::fixedsize_stack(64 * 1024),
                         [&, i] {
                           if (own.get() != nullptr) seen = -1000;
                           own.reset(new int(i));
                           boost::this_fiber::yield();
                           boost::this_fiber::sleep_for(1ms);
                           boost::this_fiber::sleep_until(std::chrono::steady_clock::now() + 1ms);
                           seen += *own;
                         });
  }
  std::vector<fibers::fiber::id> ids;
  for (const fibers::fiber& worker : workers) ids.push_back(worker.get_id());
  std::sort(ids.begin(), ids.end());
  lines.emplace_back(std::adjacent_find(ids.begin(), ids.end()) == ids.end() ? "all different" : "the same");
  for (fibers::fiber& worker : workers) {
    worker.join();
    lines.emplace_back(worker.joinable() ? "joinable" : "joined");
  }
  lines.push_back(std::to_string(seen) + " seen, " + std::to_string(ended) + " ended");
  fibers::fiber nobody;
  lines.emplace_back(nobody.get_id() == fibers::fiber::id() ? "nobody" : "somebody");
  fibers::fiber::id inside;
  fibers::fiber somebody{[&] { inside = boost::this_fiber::get_id(); }};
  const fibers::fiber::id outside = somebody.get_id();
  nobody.swap(somebody);
  nobody.join();
  lines.emplace_back(inside == outside ? "itself" : "another");
  try {
    nobody.join();
  } catch (const fibers::fiber_error& error) {
    lines.emplace_back(error.code() == std::errc::invalid_argument ? "not joinable" : error.what());
  }
  return lines;
}

}  // namespace

fiber_programs::Programs all() {
  return {{"sieve", sieve},
          {"producers and consumers", producers_and_consumers},
          {"channel states", channel_states},
          {"phases", phases},
          {"futures", futures},
          {"first of several", first_of_several},
          {"locks", locks},
          {"handles", handles}};
}

}  // namespace FIBER_PROGRAMS
