#include "asymmetric_fence.hpp"
#include "fork_join_state.hpp"

#include <creel/runtime/detail/fork_join_worker.hpp>

#include <sched.h>

#include <mutex>

// The deque of a worker follows the THE protocol of Cilk-5 (Frigo, Leiserson, Randall, PLDI 1998): the owner
// works at the top, thieves at the bottom under a lock, and both write their end before they read the
// other's. The owner's fence between the two is left to the thief (asymmetric_fence.hpp), so that push and
// pop are plain stores.
//
// bottom_ ≤ top_ but for moments under the lock. Slots below bottom_ were taken; a slot in between may be
// null: its node was withdrawn from the middle. A function that has pushed at `at` finds, when it comes back
// to pop, that nothing below `at` has been taken unless `at` was, since thieves go upwards and a worker that
// waits pops only what lies above.

namespace creel {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

thread_local ForkJoinWorkerThread* current_worker = nullptr;

// Looks around so often before it sleeps: some 20 µs, about what a wake-up costs.
constexpr int kRelaxRounds = 100;
constexpr int kYieldRounds = 16;

}  // namespace

namespace detail {
void set_current_fork_join_worker(ForkJoinWorkerThread* worker) noexcept { current_worker = worker; }

bool look_again(int& rounds) noexcept {
  if (++rounds > kRelaxRounds + kYieldRounds) return false;
  if (rounds <= kRelaxRounds) {
    for (int i = 0; i < 8; ++i) cpu_relax();
  } else {
    ::sched_yield();
  }
  return true;
}
}  // namespace detail

ForkJoinWorkerThread::ForkJoinWorkerThread(detail::ForkJoinState& state, ForkJoinPool& pool,
                                           std::uint32_t index) noexcept
    : needs_fence_(!detail::asymmetric::is_asymmetric),
      random_(index * 2654435761U + 1),
      index_(index),
      state_(state),
      pool_(pool) {}

ForkJoinWorkerThread* ForkJoinWorkerThread::current() noexcept { return current_worker; }

void ForkJoinWorkerThread::share() noexcept {
  // Cleared first: whoever wants work from now on sets it again.
  is_wanted_.store(false, kRelaxed);
  if (state_.signal_fork()) is_wanted_.store(true, kRelaxed);
}

bool ForkJoinWorkerThread::pop_contended(detail::ForkJoinNode& node, std::uint32_t at) noexcept {
  const std::lock_guard guard{lock_};  // a thief that was there has made up its mind
  const std::uint32_t bottom = bottom_.load(kRelaxed);
  const std::uint32_t top = top_.load(kRelaxed);
  if (bottom <= at && slots_[at].load(kRelaxed) == &node) {
    if (top <= at + 1) {
      top_.store(at, kRelaxed);
    } else {
      slots_[at].store(nullptr, kRelaxed);  // forks that nobody has joined yet lie above it
    }
    return true;
  }
  if (bottom > top) top_.store(bottom, kRelaxed);  // pop() had lowered it
  return false;
}

// Takes a node back if it was the last to be pushed.
bool ForkJoinWorkerThread::pop_top(detail::ForkJoinNode& node) noexcept {
  const std::uint32_t top = top_.load(kRelaxed);
  return top > 0 && slots_[top - 1].load(kRelaxed) == &node && pop(node, top - 1);
}

// Takes a node back that may lie anywhere.
bool ForkJoinWorkerThread::take_back(detail::ForkJoinNode& node) noexcept {
  if (pop_top(node)) return true;
  const std::lock_guard guard{lock_};
  for (std::uint32_t at = top_.load(kRelaxed); at > bottom_.load(kRelaxed); --at) {
    if (slots_[at - 1].load(kRelaxed) != &node) continue;
    slots_[at - 1].store(nullptr, kRelaxed);
    return true;
  }
  return false;
}

detail::ForkJoinNode* ForkJoinWorkerThread::pop_above(std::uint32_t base) noexcept {
  for (std::uint32_t top = top_.load(kRelaxed); top > base;) {
    const std::uint32_t at = --top;
    detail::ForkJoinNode* node = slots_[at].load(kRelaxed);
    top_.store(at, kRelaxed);
    light_fence();
    if (bottom_.load(kRelaxed) > at) {
      const std::lock_guard guard{lock_};
      const std::uint32_t bottom = bottom_.load(kRelaxed);
      if (bottom > at) {  // all are taken
        const std::uint32_t empty = base == 0 ? 0 : bottom;
        bottom_.store(empty, kRelaxed);
        top_.store(empty, kRelaxed);
        return nullptr;
      }
      node = slots_[at].load(kRelaxed);
    }
    if (node != nullptr) return node;
  }
  return nullptr;
}

// First in, first out; only when no function of this thread waits to pop.
detail::ForkJoinNode* ForkJoinWorkerThread::pop_oldest() noexcept {
  const std::lock_guard guard{lock_};
  std::uint32_t bottom = bottom_.load(kRelaxed);
  while (bottom < top_.load(kRelaxed)) {
    detail::ForkJoinNode* node = slots_[bottom++].load(kRelaxed);
    bottom_.store(bottom, kRelaxed);
    if (node != nullptr) return node;
  }
  bottom_.store(0, kRelaxed);
  top_.store(0, kRelaxed);
  return nullptr;
}

detail::ForkJoinNode* ForkJoinWorkerThread::steal() noexcept {
  const std::uint32_t count = state_.count_.load(std::memory_order_acquire);
  random_ = random_ * 1664525U + 1013904223U;
  for (std::uint32_t i = 0; i < count; ++i) {
    ForkJoinWorkerThread* victim =
        state_.workers_[(random_ / 65536 + i) % count].load(std::memory_order_acquire);
    if (victim == nullptr || victim == this) continue;
    if (detail::ForkJoinNode* node = steal_from(*victim)) return node;
  }
  return nullptr;
}

detail::ForkJoinNode* ForkJoinWorkerThread::steal_from(ForkJoinWorkerThread& victim) noexcept {
  if (victim.queued_task_count() == 0 || !victim.lock_.try_lock()) return nullptr;
  const std::lock_guard guard{victim.lock_, std::adopt_lock};
  for (;;) {
    const std::uint32_t at = victim.bottom_.load(kRelaxed);
    if (at >= victim.top_.load(kRelaxed)) return nullptr;
    victim.bottom_.store(at + 1, kRelaxed);
    detail::asymmetric_heavy_fence();
    if (at + 1 > victim.top_.load(std::memory_order_acquire)) {  // its owner is about to pop it
      victim.bottom_.store(at, kRelaxed);
      return nullptr;
    }
    detail::ForkJoinNode* node = victim.slots_[at].load(kRelaxed);
    if (node == nullptr) continue;
    node->runner_.store(&thread_id_, kRelaxed);
    steals_.store(steals_.load(kRelaxed) + 1, kRelaxed);
    return node;
  }
}

void ForkJoinWorkerThread::await(detail::ForkJoinNode& node) noexcept {
  const std::uint32_t base = top_.load(kRelaxed);
  for (int rounds = 0; !node.is_done();) {
    detail::ForkJoinNode* other = pop_above(base);
    if (other == nullptr) other = steal();
    if (other != nullptr) {
      other->run_(*other, this);
      rounds = 0;
    } else if (!detail::look_again(rounds)) {
      state_.sleep_until_done(*this, node);
      rounds = 0;
    }
  }
}

void ForkJoinWorkerThread::await(detail::ForkJoinNode& node, std::uint32_t at) noexcept {
  await(node);
  const std::lock_guard guard{lock_};
  if (bottom_.load(kRelaxed) == top_.load(kRelaxed)) {  // else forks that nobody has joined lie above it
    bottom_.store(at, kRelaxed);
    top_.store(at, kRelaxed);
  }
}

void ForkJoinWorkerThread::complete(detail::ForkJoinNode& node, bool failed) noexcept {
  // release: what the node did happens before its join returns.
  const std::uint32_t before = node.state_.exchange(
      failed ? detail::ForkJoinNode::kFailed : detail::ForkJoinNode::kDone, std::memory_order_acq_rel);
  if ((before & detail::ForkJoinNode::kJoinerSleeps) != 0) state_.wake_joiner(&node);
}

}  // namespace creel
