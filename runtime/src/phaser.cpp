#include "fork_join_state.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/phaser.hpp>

#include <mutex>
#include <utility>

namespace creel {

using detail::Interruptible;
using detail::WaitOutcome;

// Every change of a state is acq_rel: the last to arrive carries the effects of all that arrived before it,
// up the tiers, and whoever sees the next phase sees them.

namespace {

constexpr std::uint64_t kPhaseMask = 0x7fffffff;

std::int32_t phase_of(std::uint64_t state) noexcept { return static_cast<std::int32_t>(state >> 32); }

}  // namespace

Phaser::Phaser(Phaser* parent, std::string name, std::uint32_t parties)
    : state_(kEmpty),
      parent_(parent),
      root_(parent != nullptr ? parent->root_ : this),
      name_(std::move(name)),
      registering_(name_) {
  if (parties > kMaxParties) {
    throw Error(described() + ": " + std::to_string(parties) + " parties; at most 65535, tiers hold more");
  }
  std::uint64_t phase = 0;
  if (parent != nullptr) {
    phase = parties > 0 ? static_cast<std::uint32_t>(parent->register_party()) : root_->state() >> 32;
  }
  state_.store(phase << 32 | counts_of(parties), std::memory_order_release);
}

Phaser::~Phaser() { CREEL_ASSERT(queue_.empty(), "a phaser was destroyed while threads wait for it"); }

std::string Phaser::described() const {
  return "creel::Phaser" + (name_.empty() ? std::string() : " \"" + name_ + "\"");
}

bool Phaser::on_advance(std::int32_t, std::uint32_t registered_parties) { return registered_parties == 0; }

// The state, brought to the root's phase. A child that is behind has nobody to arrive: else the root could
// not have gone on.
std::uint64_t Phaser::current() const noexcept {
  std::uint64_t seen = state();
  if (root_ == this) return seen;
  for (;;) {
    const std::uint64_t phase = root_->state() >> 32;
    if (seen >> 32 == phase) return seen;
    const bool ended = (phase << 32 & kEnded) != 0;
    const std::uint64_t counts = ended ? seen & 0xffffffff : counts_of(parties_of(seen));
    if (state_.compare_exchange_weak(seen, phase << 32 | counts, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
      return phase << 32 | counts;
    }
  }
}

std::int32_t Phaser::bulk_register(std::uint32_t parties) {
  for (;;) {
    std::uint64_t seen = current();
    if (parties == 0 || phase_of(seen) < 0) return phase_of(seen);
    const std::uint32_t registered = parties_of(seen);
    if (parties > kMaxParties - registered) {
      throw Error(described() + ": " + std::to_string(registered) + " parties and " +
                  std::to_string(parties) + " more; at most 65535, tiers hold more");
    }
    std::int32_t phase = phase_of(seen);
    if (registered == 0 && (seen & 0xffff) == kEmpty) {
      if (register_first(seen, parties, phase)) return phase;
    } else if ((seen & 0xffff) == 0) {
      root_->await(phase, Deadline::never(), Interruptible::No);  // it is ending
    } else if (state_.compare_exchange_weak(seen, seen + parties * (kOneParty + 1), std::memory_order_acq_rel,
                                            std::memory_order_relaxed)) {
      return phase;
    }
  }
}

bool Phaser::register_first(std::uint64_t seen, std::uint32_t parties, std::int32_t& phase) {
  const std::uint64_t counts = counts_of(parties);
  if (root_ == this) {
    return state_.compare_exchange_strong(seen, (seen >> 32) << 32 | counts, std::memory_order_acq_rel,
                                          std::memory_order_relaxed);
  }
  const std::scoped_lock guard{registering_};
  if (parties_of(current()) != 0) return false;
  phase = parent_->register_party();
  if (phase < 0) return true;
  // Nothing else gives an empty phaser parties; its phase alone may be moved meanwhile, and the root stays at
  // this one until we arrive.
  const std::uint64_t next = static_cast<std::uint64_t>(static_cast<std::uint32_t>(phase)) << 32 | counts;
  for (seen = state(); !state_.compare_exchange_weak(seen, next, std::memory_order_acq_rel);) {
  }
  return true;
}

std::int32_t Phaser::arrive_with(bool deregister) {
  for (;;) {
    std::uint64_t seen = current();
    if (phase_of(seen) < 0) return phase_of(seen);
    if (unarrived_of(seen) == 0) {
      throw Error(described() + ": an arrival of a party that is not registered: " + to_string());
    }
    std::uint64_t next = seen - 1 - (deregister ? kOneParty : 0);
    const bool last = unarrived_of(seen) == 1;
    // The child leaves its parent: from here on it is empty, and whoever registers makes it a party again.
    if (last && parent_ != nullptr && parties_of(next) == 0) next |= kEmpty;
    if (!state_.compare_exchange_weak(seen, next, std::memory_order_acq_rel, std::memory_order_relaxed))
      continue;
    if (last && parent_ == nullptr) {
      arrived_last(next);
    } else if (last) {
      parent_->arrive_with(parties_of(next) == 0);
    }
    return phase_of(seen);
  }
}

// Of the root: ends the phase. Nobody arrives or registers meanwhile; force_termination() may come.
void Phaser::arrived_last(std::uint64_t state) {
  const std::uint32_t parties = parties_of(state);
  const bool end = on_advance(phase_of(state), parties);
  const std::uint64_t phase = ((state >> 32) + 1) & kPhaseMask;
  const std::uint64_t next = phase << 32 | counts_of(parties) | (end ? kEnded : 0);
  queue_.change_and_wake_all([&] {
    std::uint64_t expected = state;
    state_.compare_exchange_strong(expected, next, std::memory_order_acq_rel, std::memory_order_relaxed);
  });
}

std::int32_t Phaser::arrive_and_await_advance() { return await_advance(arrive()); }

WaitOutcome Phaser::await(std::int32_t phase_to_end, Deadline deadline, Interruptible interruptible) {
  if (phase() != phase_to_end) return WaitOutcome::Met;
  if (interruptible == Interruptible::Yes && Thread::interrupted()) return WaitOutcome::Interrupted;
  const detail::ForkJoinCompensation compensation;  // the parties to come may be tasks of the same pool
  const Blocker blocker{this, "creel::Phaser", name_.empty() ? nullptr : name_.c_str()};
  return queue_.await(blocker, deadline, interruptible, detail::WaitQueue::Order::Any,
                      [&] { return phase() != phase_to_end; });
}

std::int32_t Phaser::await_advance(std::int32_t phase) {
  if (phase < 0) return phase;
  root_->await(phase, Deadline::never(), Interruptible::No);
  return this->phase();
}

std::int32_t Phaser::await_advance_interruptibly(std::int32_t phase, Deadline deadline) {
  if (phase < 0) return phase;
  switch (root_->await(phase, deadline, Interruptible::Yes)) {
    case WaitOutcome::Interrupted:
      throw InterruptedError("interrupted while waiting for phase " + std::to_string(phase) + " of a " +
                             described());
    case WaitOutcome::TimedOut:
      throw TimeoutError("timed out waiting for phase " + std::to_string(phase) + ": " + to_string());
    case WaitOutcome::Met:
      break;
  }
  return this->phase();
}

void Phaser::force_termination() {
  root_->queue_.change_and_wake_all([this] { root_->state_.fetch_or(kEnded, std::memory_order_acq_rel); });
}

std::uint32_t Phaser::registered_parties() const noexcept { return parties_of(current()); }

std::uint32_t Phaser::unarrived_parties() const noexcept { return unarrived_of(current()); }

std::uint32_t Phaser::arrived_parties() const noexcept {
  const std::uint64_t seen = current();
  return parties_of(seen) - unarrived_of(seen);
}

std::string Phaser::to_string() const {
  const std::uint64_t seen = current();
  return described() + " [phase " + std::to_string(phase_of(seen)) + ", " + std::to_string(parties_of(seen)) +
         " parties, " + std::to_string(parties_of(seen) - unarrived_of(seen)) + " arrived]";
}

}  // namespace creel
