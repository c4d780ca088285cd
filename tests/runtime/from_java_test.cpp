// The C++ of docs/runtime/from_java.md and runtime/README.md, which newcomer_test.py compares with this file.
#include <creel/runtime.hpp>

#include <creel_test/await_state.hpp>
#include <doctest/doctest.h>

#include <map>
#include <mutex>
#include <numeric>
#include <shared_mutex>
#include <sstream>
#include <string>
#include <vector>

using namespace std::chrono_literals;

TEST_CASE("the first program of runtime/README.md") {
  std::atomic<int> booked{0};
  {
    const auto book = [&](const std::string&) { ++booked; };
    creel::Diagnostics diagnostics;  // from here on jps, jstack and jcmd can read the process

    creel::ArrayBlockingQueue<std::string> orders(64, "orders");
    const auto clerks = creel::executors::new_fixed_thread_pool(2);
    for (int i = 0; i < 2; ++i) {
      clerks->execute([&] {
        for (const std::string& order : orders) {
          const creel::Activity activity{"booking " + order};
          book(order);
        }
      });
    }
    const creel::Thread customer = creel::Thread::of_virtual().name("customer").start([&] {
      for (int i = 0; i < 100; ++i) orders.put("tea " + std::to_string(i));
    });
    customer.join();
    orders.close();  // the clerks take what is left; the pool waits for them
  }
  CHECK(booked == 100);
}

TEST_CASE("from Java: threads") {
  std::atomic<int> decoded{0};
  const auto decode_all = [&] { ++decoded; };
  const auto watch = [&] { creel::Thread::sleep(1h); };

  creel::Thread worker = creel::Thread::of_platform().name("decode-", 0).daemon().start(decode_all);
  creel::Thread light = creel::Thread::of_virtual().name("watch").start([&] {
    try {
      watch();
    } catch (const creel::InterruptedError&) {
      return;
    }
  });
  light.interrupt();
  light.join();
  if (!worker.join(5s)) throw creel::TimeoutError(worker.name() + " still works");

  CHECK(decoded == 1);
  CHECK(worker.name() == "decode-0");
}

TEST_CASE("from Java: synchronized, wait, notifyAll") {
  struct Account {
    void deposit(long amount) {
      creel::synchronized(monitor, [&] {
        balance += amount;
        monitor.notify_all();
      });
    }
    void withdraw(long amount) {
      const std::scoped_lock inside{monitor};
      monitor.wait([&] { return balance >= amount; });
      balance -= amount;
    }

    creel::Monitor monitor{"account"};
    long balance = 0;
  };

  Account account;
  const auto customer = creel::Thread::start_virtual_thread([&] { account.withdraw(30); });
  account.deposit(20);
  account.deposit(20);
  customer.join();
  CHECK(account.balance == 10);
}

TEST_CASE("from Java: ReentrantLock and Condition") {
  struct Buffer {
    void put(int element) {
      const std::scoped_lock guard{lock};
      while (elements.size() == 16) not_full.await();
      elements.push_back(element);
      not_empty.signal();
    }
    std::optional<int> poll(creel::Deadline deadline) {
      if (!lock.try_lock(deadline)) return std::nullopt;
      const std::scoped_lock guard{std::adopt_lock, lock};
      if (!not_empty.await([&] { return !elements.empty(); }, deadline)) return std::nullopt;
      const int first = elements.front();
      elements.erase(elements.begin());
      not_full.signal();
      return first;
    }

    creel::ReentrantLock lock{"buffer"};
    creel::Condition not_full = lock.condition("not full");
    creel::Condition not_empty = lock.condition("not empty");
    std::vector<int> elements;
  };

  Buffer buffer;
  CHECK(buffer.poll(1ms) == std::nullopt);
  buffer.put(7);
  CHECK(buffer.poll(20s) == 7);
}

TEST_CASE("from Java: ReentrantReadWriteLock") {
  std::map<std::string, int> prices{{"tea", 3}};
  creel::ReentrantReadWriteLock lock{"prices"};
  const auto price_of = [&](const std::string& name) {
    const std::shared_lock reading{lock};
    return prices.at(name);
  };
  {
    const std::unique_lock writing{lock};
    prices["tea"] = 4;
  }

  CHECK(price_of("tea") == 4);
}

TEST_CASE("from Java: ExecutorService") {
  int sum = 0;
  std::vector<std::function<int()>> tasks{[] { return 1; }, [] { return 2; }};
  {
    const auto pool = creel::executors::new_fixed_thread_pool(4);
    creel::Future<int> answer = pool->submit([] { return 42; });
    sum += answer.get(1min);
    for (const creel::Future<int>& each : pool->invoke_all(tasks)) sum += each.get();
  }  // as close(): waits for the tasks

  CHECK(sum == 45);
}

TEST_CASE("from Java: ThreadPoolExecutor") {
  creel::ThreadPoolExecutor pool{{
      .core_size = 2,
      .maximum_size = 8,
      .keep_alive = 30s,
      .queue = std::make_shared<creel::ArrayBlockingQueue<creel::Task>>(100),
      .factory = creel::Thread::of_platform().name("book-", 0).factory(),
      .rejection = creel::ThreadPoolExecutor::Rejection::CallerRuns,
      .name = "book",
  }};
  pool.execute([] {});
  pool.shutdown();
  if (!pool.await_termination(10s)) pool.shutdown_now();

  CHECK(pool.is_terminated());
}

TEST_CASE("from Java: ScheduledExecutorService") {
  std::atomic<int> beeps{0};
  creel::CountDownLatch three{3};

  const auto timer = creel::executors::new_scheduled_thread_pool(1);
  const auto beep = timer->schedule_at_fixed_rate([&] { ++beeps, three.count_down(); }, 0s, 1ms);
  three.await();
  beep.cancel(false);
  timer->schedule([&] { beeps = -1; }, 10ms).get();

  CHECK(beeps == -1);
  CHECK(beep.is_cancelled());
}

TEST_CASE("from Java: CompletableFuture") {
  const auto fetch = [](const std::string& shop) {
    if (shop == "closed") throw std::runtime_error("nobody there");
    return static_cast<double>(shop.size());
  };
  const auto ask = [&](std::string shop) {
    return creel::supply_async([=] { return fetch(shop); })
        .or_timeout(20s)
        .exceptionally([](std::exception_ptr) { return 1000.0; });
  };
  const std::vector<creel::CompletableFuture<double>> prices{ask("corner"), ask("closed"), ask("mall")};
  const double best = creel::all_of(prices)
                          .then_apply([&] {
                            double least = prices[0].join();
                            for (const auto& price : prices) least = std::min(least, price.join());
                            return least;
                          })
                          .join();

  CHECK(best == 4.0);
}

TEST_CASE("from Java: BlockingQueue, without a poison pill") {
  long sum = 0;

  creel::ArrayBlockingQueue<int> numbers(8, "numbers");
  const auto producer = creel::Thread::start_virtual_thread([&] {
    for (int i = 1; i <= 100; ++i) numbers.put(i);
    numbers.close();
  });
  for (const int number : numbers) sum += number;  // until it is closed and empty
  producer.join();

  CHECK(sum == 5050);
}

TEST_CASE("from Java: ConcurrentHashMap and LongAdder") {
  std::istringstream text("a rose is a rose is a rose");

  creel::ConcurrentHashMap<std::string, long> words;
  creel::LongAdder total;
  for (std::string word; text >> word;) {
    words.merge(word, 1, std::plus<>());
    total.increment();
  }
  const long roses = words.get_or_default("rose", 0);

  CHECK(roses == 3);
  CHECK(total.sum() == 8);
}

TEST_CASE("from Java: Semaphore, CountDownLatch, CyclicBarrier") {
  std::atomic<int> done{0};

  creel::Semaphore connections{2, "connections"};
  creel::CountDownLatch finished{4, "finished"};
  creel::CyclicBarrier step{4, [&] { done = 0; }, "step"};
  for (int i = 0; i < 4; ++i) {
    creel::Thread::start_virtual_thread([&] {
      step.await();
      connections.acquire();
      ++done;
      connections.release();
      finished.count_down();
    });
  }
  if (!finished.await(20s)) throw creel::TimeoutError("not finished");

  CHECK(done == 4);
}

const creel::ScopedValue<std::string> user{"user"};

TEST_CASE("from Java: StructuredTaskScope and ScopedValue") {
  const auto find_name = [] { return user.get() + " Liddell"; };
  const auto count_orders = [] { return 3; };

  std::string report;
  creel::where(user, "alice").run([&] {
    creel::TaskScope scope{{.name = "report", .deadline = 20s}};
    creel::Subtask<std::string> name = scope.fork(find_name);
    creel::Subtask<int> orders = scope.fork(count_orders);
    scope.join();  // throws FailedError if one failed; the other was interrupted then
    report = name.get() + ": " + std::to_string(orders.get());
  });

  CHECK(report == "alice Liddell: 3");
}

TEST_CASE("from Java: ThreadLocal") {
  const creel::ThreadLocal<std::vector<char>> scratch{[] { return std::vector<char>(4096); }};
  scratch.get()[0] = 'x';

  creel::Thread::start_virtual_thread([&] { CHECK(scratch.get()[0] == 0); }).join();
  CHECK(scratch.get()[0] == 'x');
}

struct Sum final : creel::RecursiveTask<long> {
  explicit Sum(std::span<const int> its_numbers) : numbers(its_numbers) {}
  long compute() override {
    if (numbers.size() <= 1000) return std::accumulate(numbers.begin(), numbers.end(), 0L);
    Sum left(numbers.first(numbers.size() / 2));
    Sum right(numbers.subspan(numbers.size() / 2));
    left.fork();
    return right.invoke() + left.join();
  }
  std::span<const int> numbers;
};

TEST_CASE("from Java: ForkJoinPool") {
  const std::vector<int> numbers(100'000, 1);

  Sum sum(numbers);
  const long total = creel::ForkJoinPool::common().invoke(sum);
  const long shorter = creel::parallel_reduce(
      numbers, 0L, std::plus<>(), [](int n) { return long{n}; }, 1000);

  CHECK(total == 100'000);
  CHECK(shorter == 100'000);
}

TEST_CASE("from Java: ServerSocket and virtual threads") {
  creel::TcpListener listener("127.0.0.1", 0);
  const auto server = creel::Thread::of_virtual().name("accept").start([&] {
    for (creel::TcpSocket& client : listener) {
      creel::Thread::start_virtual_thread(
          [client = std::move(client)]() mutable { client.transfer_to(client); });
    }
  });

  auto socket = creel::TcpSocket::connect("127.0.0.1", listener.port(), 20s);
  socket.write_all("hello\n");
  CHECK(creel::LineReader(socket).read_line(20s) == "hello");
  socket.close();
  listener.close();
  server.join();
}

TEST_CASE("from Java: ProcessBuilder") {
  creel::ProcessBuilder builder{"sh", "-c", "echo $GREETING; cat"};
  builder.environment()["GREETING"] = "hello";
  builder.redirect_error_stream();
  const creel::Process process = builder.start();
  process.standard_input().write_all("world\n");
  process.standard_input().close();
  const std::string output = process.standard_output().read_all_bytes(20s);
  if (!process.wait_for(20s)) process.destroy_forcibly();

  CHECK(output == "hello\nworld\n");
  CHECK(process.wait_for().success());
}

TEST_CASE("from Java: thread dumps and deadlocks from within") {
  std::ostringstream report;

  for (const creel::Deadlock& deadlock : creel::find_deadlocks()) report << to_string(deadlock);
  const creel::ThreadDump dump = creel::ThreadDump::take();
  report << dump.to_text();

  CHECK(dump.deadlocks().empty());
  CHECK(report.str().find("Full thread dump") != std::string::npos);
}
