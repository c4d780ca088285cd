#include "stop_signal.hpp"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace creel::pipeline {
namespace {

std::atomic<int> noted{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch it");
struct sigaction old_term;
struct sigaction old_int;

extern "C" void note_stop(int signal_number) {
  int none = 0;
  if (!noted.compare_exchange_strong(none, signal_number)) ::_exit(128 + signal_number);
}

}  // namespace

StopSignal::StopSignal() {
  noted = 0;
  struct sigaction action {};
  action.sa_handler = note_stop;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGTERM, &action, &old_term);
  ::sigaction(SIGINT, &action, &old_int);
}

StopSignal::~StopSignal() {
  ::sigaction(SIGTERM, &old_term, nullptr);
  ::sigaction(SIGINT, &old_int, nullptr);
}

int StopSignal::received() noexcept { return noted.load(); }

}  // namespace creel::pipeline
