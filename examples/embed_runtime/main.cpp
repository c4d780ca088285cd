// An order desk: what a program gets that links creel::runtime alone. Virtual threads, one for each customer,
// put orders into a bounded queue; a pool of named platform threads books them under a lock; one more virtual
// thread parks until somebody unparks it. Meanwhile the program can be read like a JVM.
//
//   embed_runtime 20          works for 20 seconds (without a number: until its input ends)
//
// prints, the numbers differing,
//
//   pid 41233: try `jstack 41233`, `jcmd 41233 Thread.print` or `creel dump 41233`
//   booked 9950 orders of 100 customers, the night watch was woken
//
// and in a dump every thread has its name, its state and what it waits for:
//
//   "book-0" #14 prio=5 … waiting on condition
//      java.lang.Thread.State: WAITING (parking)
//      booking order 17 of customer 3

#include <creel/runtime/array_blocking_queue.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/executors.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/thread.hpp>

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using creel::Thread;

constexpr int kCustomers = 100;
constexpr int kClerks = 2;

struct Order {
  int customer;
  int number;
};

class Ledger {
 public:
  void book(const Order& order) {
    const creel::Activity activity{"booking order " + std::to_string(order.number) + " of customer " +
                                   std::to_string(order.customer)};
    creel::synchronized(monitor_, [&] { ++booked_; });
  }
  long booked() {
    return creel::synchronized(monitor_, [&] { return booked_; });
  }

 private:
  creel::Monitor monitor_{"ledger"};
  long booked_ = 0;
};

// Orders until it is interrupted or the desk closes.
void shop(creel::ArrayBlockingQueue<Order>& orders, int customer) {
  try {
    for (int number = 0;; ++number) {
      orders.put({customer, number});
      Thread::sleep(20ms);
    }
  } catch (const creel::InterruptedError&) {
  } catch (const creel::RejectedError&) {
  }
}

void wait_for_the_end(int argc, char** argv) {
  if (argc > 1) {
    Thread::sleep(std::chrono::seconds(std::atoi(argv[1])));
    return;
  }
  creel::blocking("standard input", [] {
    char bytes[256];
    while (::read(STDIN_FILENO, bytes, sizeof bytes) > 0) {
    }
  });
}

}  // namespace

int main(int argc, char** argv) {
  creel::Diagnostics diagnostics{{.name = "embed_runtime", .arguments = {argv + 1, argv + argc}}};
  std::printf("pid %d: try `jstack %d`, `jcmd %d Thread.print` or `creel dump %d`\n", ::getpid(), ::getpid(),
              ::getpid(), ::getpid());
  std::fflush(stdout);

  creel::ArrayBlockingQueue<Order> orders(8, "orders");
  Ledger ledger;
  auto clerks =
      creel::executors::new_fixed_thread_pool(kClerks, Thread::of_platform().name("book-", 0).factory());
  for (int i = 0; i < kClerks; ++i) {
    clerks->execute([&] {
      for (const Order& order : orders) ledger.book(order);
    });
  }

  std::vector<Thread> customers;
  auto customer = Thread::of_virtual().name("customer-", 0);
  for (int i = 0; i < kCustomers; ++i) customers.push_back(customer.start([&, i] { shop(orders, i); }));

  std::atomic<bool> morning{false};
  const Thread watch = Thread::of_virtual().name("night watch").start([&] {
    while (!morning) creel::LockSupport::park({.object = &morning, .type = "Morning", .name = "morning"});
  });

  wait_for_the_end(argc, argv);

  for (const Thread& thread : customers) thread.interrupt();
  for (const Thread& thread : customers) thread.join();
  orders.close();  // the clerks take what is left, then their loops end
  clerks->shutdown();
  clerks->await_termination();
  morning = true;
  creel::LockSupport::unpark(watch);
  watch.join();
  std::printf("booked %ld orders of %d customers, the night watch was woken\n", ledger.booked(), kCustomers);
}
