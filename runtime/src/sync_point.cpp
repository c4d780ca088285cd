#include "sync_point.hpp"

#if CREEL_PERTURB
#include "thread_record.hpp"

#include <sched.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace creel::detail {
namespace {

// Taken before main, and said, so that a run that failed, crashed or hangs can be repeated.
std::uint64_t choose_seed() noexcept {
  std::uint64_t seed =
      static_cast<std::uint64_t>(std::time(nullptr)) * 1000003 + static_cast<std::uint64_t>(::getpid());
  if (const char* text = std::getenv("CREEL_PERTURB_SEED"); text != nullptr) {
    std::from_chars(text, text + std::strlen(text), seed);
  }
  std::fprintf(stderr, "CREEL_PERTURB_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

std::uint64_t chosen_seed() noexcept {
  static const std::uint64_t seed = choose_seed();
  return seed;
}

Perturbation draw(std::uint64_t thread, std::uint64_t point) noexcept {
  const int saved_errno = errno;
  const Perturbation drawn = perturbation(chosen_seed(), thread, point);
  switch (drawn) {
    case Perturbation::None:
      break;
    case Perturbation::Spin:
      for (std::uint64_t i = (thread + point) % 128; i > 0; --i) cpu_relax();
      break;
    case Perturbation::Yield:
      ::sched_yield();
      break;
    case Perturbation::Sleep: {
      const timespec brief{0, 20'000};
      ::nanosleep(&brief, nullptr);
      break;
    }
  }
  errno = saved_errno;
  return drawn;
}

// How many points each thread has passed; threads whose ids are that far apart share one.
std::uint64_t next_point(std::uint64_t thread) noexcept {
  static constinit std::array<std::atomic<std::uint64_t>, 1 << 16> passed{};
  return passed[thread % passed.size()].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void sync_point() noexcept {
  // A thread that creel has not met yet, or no more, has no number of its own to draw by.
  if (const ThreadRecord* self = current_record_or_null()) draw(self->id, next_point(self->id));
}

bool switch_point() noexcept {
  const ThreadRecord* self = current_record_or_null();
  if (self == nullptr) return false;
  const std::uint64_t point = next_point(self->id);
  const Perturbation drawn = draw(self->id, point);
  if (drawn == Perturbation::Yield && self->is_virtual) Thread::yield();
  return drawn == Perturbation::Sleep && point % 2 == 0;
}

}  // namespace creel::detail
#endif
