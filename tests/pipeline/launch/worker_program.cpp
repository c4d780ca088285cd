// A rank that does what its argument says: `worker_program MODE… --rank R --ranks N --world-fd FD`, one mode
// per rank. It says "ready R PID" on stdout once it is where the test wants it.
#include <creel/comm/group.hpp>
#include <creel/comm/world.hpp>
#include <creel/runtime/error.hpp>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

namespace {

std::string option(int argc, char** argv, const std::string& name) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (argv[i] == name) return argv[i + 1];
  }
  std::_Exit(99);
}

void say(const char* what, int rank) {
  const std::string line =
      std::string(what) + " " + std::to_string(rank) + " " + std::to_string(::getpid()) + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) std::_Exit(98);
}

// Stands in for training steps: looks at the request between them.
int train_until_asked(creel::comm::World& world) {
  while (world.stop_requested() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return 128 + world.stop_requested();
}

// Stands in for a checkpoint that takes its time: stops when the test allows it, by SIGUSR1.
int stop_when_told(creel::comm::World& world, int rank) {
  const int code = train_until_asked(world);
  say("asked", rank);
  sigset_t told;
  ::sigemptyset(&told);
  ::sigaddset(&told, SIGUSR1);
  int signal = 0;
  ::sigwait(&told, &signal);
  return code;
}

[[noreturn]] void hang() {
  for (;;) ::pause();
}

}  // namespace

int main(int argc, char** argv) try {
  const int rank = std::stoi(option(argc, argv, "--rank"));
  const std::string mode = argv[1 + rank];
  // A rank takes Ctrl-C of its terminal as the request that the launcher passes on anyway.
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGTERM, SIG_IGN);
  sigset_t told;
  ::sigemptyset(&told);
  ::sigaddset(&told, SIGUSR1);
  ::sigprocmask(SIG_BLOCK, &told, nullptr);  // waited for
  creel::comm::World world = creel::comm::World::attach(std::stoi(option(argc, argv, "--world-fd")));
  world.enter(rank);
  if (world.size() != std::stoi(option(argc, argv, "--ranks"))) return 97;
  if (mode == "leave_files") {  // as a rank with diagnostics that is then killed
    std::ofstream("/tmp/.java_pid" + std::to_string(::getpid())) << "x";
  }
  say("ready", rank);
  if (mode == "end") return 0;
  if (mode.starts_with("exit")) return std::stoi(mode.substr(4));
  if (mode == "train") return train_until_asked(world);
  if (mode == "stop_when_told") return stop_when_told(world, rank);
  if (mode == "stop_alone") return 143;
  if (mode == "barrier") {
    creel::comm::Group::join(world, rank).barrier();
    return 0;
  }
  hang();
} catch (const creel::Error& e) {
  std::fprintf(stderr, "worker: %s\n", e.what());
  return creel::exit_code(e.code());
}
