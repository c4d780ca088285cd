// A deadlock on purpose, to be read with jstack: two philosophers, one of them a virtual thread, take two
// forks in opposite order.
//
//   deadlock              stays as it is until Ctrl-C; then, in another terminal, `jstack PID`
//   deadlock 1            looks at itself after a second, prints what it found, and exits
//
// prints "pid 41233: try `jstack 41233`", and jstack (or `jcmd PID Thread.print`, `creel dump PID`) ends with
//
//   Found one Java-level deadlock:
//   =============================
//   "Socrates":
//     waiting to lock monitor 0x00007ffd3f0a2f20 (object 0x00007ffd3f0a2f20, a creel::Monitor "right fork"),
//     which is held by "Plato"
//   "Plato":
//     waiting for ownable synchronizer 0x00007ffd3f0a2ec0, (a creel::ReentrantLock "left fork"),
//     which is held by "Socrates"
//
//   … the stacks of both …
//
//   Found 1 deadlock.
//
// The second form prints, for this program's own find_deadlocks(),
//
//   "Plato" waits for "left fork", which "Socrates" holds
//   "Socrates" waits for "right fork", which "Plato" holds

#include <creel/runtime/count_down_latch.hpp>
#include <creel/runtime/deadlock.hpp>
#include <creel/runtime/diagnostics.hpp>
#include <creel/runtime/monitor.hpp>
#include <creel/runtime/reentrant_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>

namespace {

using creel::Thread;

// Takes one fork, waits until the other philosopher has one, too, then wants the other's.
template <typename First, typename Second>
void dine(First& first, Second& second, creel::CountDownLatch& both_have_one) {
  const std::scoped_lock mine{first};
  both_have_one.count_down();
  both_have_one.await();
  const std::scoped_lock other{second};
}

// The deadlock's threads, in lines that are the same whichever of them it begins with.
int report() {
  std::set<std::string> lines;
  for (const creel::Deadlock& deadlock : creel::find_deadlocks()) {
    for (const creel::DeadlockedThread& thread : deadlock.threads) {
      lines.insert("\"" + thread.name + "\" waits for \"" + thread.lock.name + "\", which \"" +
                   thread.lock.owner_name + "\" holds");
    }
  }
  for (const std::string& line : lines) std::puts(line.c_str());
  std::fflush(stdout);
  return lines.size() == 2 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  creel::Diagnostics diagnostics{{.name = "deadlock", .arguments = {argv + 1, argv + argc}}};
  creel::ReentrantLock left{"left fork"};
  creel::Monitor right{"right fork"};
  creel::CountDownLatch both_have_one{2};
  const Thread socrates =
      Thread::of_platform().name("Socrates").start([&] { dine(left, right, both_have_one); });
  const Thread plato = Thread::of_virtual().name("Plato").start([&] { dine(right, left, both_have_one); });
  std::printf("pid %d: try `jstack %d`\n", ::getpid(), ::getpid());
  std::fflush(stdout);
  if (argc == 1) socrates.join();  // never
  const creel::Deadline patience = std::chrono::seconds(std::atoi(argv[1]));
  while (creel::find_deadlocks().empty() && !patience.expired()) Thread::sleep(std::chrono::milliseconds(10));
  std::_Exit(report());  // their locks cannot be destroyed: they are held for ever
}
