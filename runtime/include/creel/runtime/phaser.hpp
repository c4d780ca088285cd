#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/reentrant_lock.hpp>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

namespace creel {

/// A barrier for a number of parties that changes as it goes; java.util.concurrent.Phaser. Phases are
/// numbered from 0; a phase ends when all registered parties have arrived.
///
///     creel::Phaser phaser{1, "stages"};                 // 1: this thread
///     for (Work& work : works) {
///       phaser.register_party();
///       pool->execute([&] { work.run(); phaser.arrive_and_deregister(); });
///     }
///     phaser.arrive_and_await_advance();                 // all of them have run
///     phaser.arrive_and_deregister();
///
/// Arriving does not wait, and waiting needs no registration: any thread may await the end of a phase that it
/// knows the number of. on_advance() decides whether the phaser ends with a phase: by default when nobody is
/// registered any more. After that the phase is negative, nothing waits and registering has no effect.
///
/// Tiers: a phaser with a parent is one party of it, for as long as it has parties of its own, so that many
/// parties need not share one counter; phases and waiting are the root's. A parent must outlive its children.
///
/// Arriving or deregistering more often than registered is an Error where it can be noticed. At most 65,535
/// parties a phaser. Memory effects: what a party did before it arrived happens before on_advance(), and that
/// before what follows the wait for that phase.
class Phaser {
 public:
  static constexpr std::uint32_t kMaxParties = 65535;

  /// The name stands in dumps; it may be empty. Throws Error if there are more than kMaxParties.
  explicit Phaser(std::uint32_t parties = 0, std::string name = {})
      : Phaser(nullptr, std::move(name), parties) {}
  /// A child of `parent`.
  explicit Phaser(Phaser& parent, std::uint32_t parties = 0, std::string name = {})
      : Phaser(&parent, std::move(name), parties) {}
  virtual ~Phaser();
  Phaser(const Phaser&) = delete;
  Phaser& operator=(const Phaser&) = delete;

  /// One party more (`register` is a word of C++). Returns the phase that it belongs to, negative if the
  /// phaser has ended. Waits while a phase is ending.
  std::int32_t register_party() { return bulk_register(1); }
  std::int32_t bulk_register(std::uint32_t parties);

  /// A party has arrived; does not wait. Returns the phase at which it did, negative if the phaser has ended.
  /// The last one runs on_advance() and passes on what that throws; the phase then does not end.
  std::int32_t arrive() { return arrive_with(false); }
  /// The same, and takes no part in later phases.
  std::int32_t arrive_and_deregister() { return arrive_with(true); }
  /// Arrives and waits for the others; returns the phase that begins, negative if the phaser has ended.
  /// interrupt() does not end it; the flag is kept.
  std::int32_t arrive_and_await_advance();

  /// Waits for the end of phase `phase`; returns at once if that is not the current one. Returns the phase
  /// that is current then, negative if the phaser has ended; `phase` itself if that is negative. interrupt()
  /// does not end it; the flag is kept.
  std::int32_t await_advance(std::int32_t phase);
  /// As await_advance(), but throws InterruptedError, and TimeoutError when `deadline` passes.
  std::int32_t await_advance_interruptibly(std::int32_t phase, Deadline deadline = {});

  /// Ends the phaser, and all of its tier, at once; counts stay as they are. For recovery from errors.
  void force_termination();

  /// The current phase; negative once the phaser has ended.
  std::int32_t phase() const noexcept { return static_cast<std::int32_t>(root_->state() >> 32); }
  std::uint32_t registered_parties() const noexcept;
  std::uint32_t arrived_parties() const noexcept;
  std::uint32_t unarrived_parties() const noexcept;
  Phaser* parent() const noexcept { return parent_; }
  Phaser& root() noexcept { return *root_; }
  bool is_terminated() const noexcept { return phase() < 0; }
  std::string to_string() const;

 protected:
  /// Called on the root by the party that arrives last, before anybody goes on; true ends the phaser. `phase`
  /// is the one that ends. Must not arrive, register or wait on this phaser.
  virtual bool on_advance(std::int32_t phase, std::uint32_t registered_parties);

 private:
  // From the top: ended (1 bit), phase (31), registered (16), yet to arrive (16). A phaser without parties
  // has kEmpty, one to arrive of none; so 0 to arrive always means that the phase is ending.
  static constexpr std::uint64_t kEmpty = 1, kOneParty = 1 << 16, kEnded = std::uint64_t{1} << 63;
  static std::uint32_t parties_of(std::uint64_t state) noexcept { return (state >> 16) & 0xffff; }
  static std::uint32_t unarrived_of(std::uint64_t state) noexcept {
    return parties_of(state) == 0 ? 0 : state & 0xffff;
  }
  static std::uint64_t counts_of(std::uint64_t parties) noexcept {
    return parties == 0 ? kEmpty : parties << 16 | parties;
  }

  Phaser(Phaser* parent, std::string name, std::uint32_t parties);
  std::uint64_t state() const noexcept { return state_.load(std::memory_order_acquire); }
  std::uint64_t current() const noexcept;
  std::int32_t arrive_with(bool deregister);
  void arrived_last(std::uint64_t state);
  bool register_first(std::uint64_t seen, std::uint32_t parties, std::int32_t& phase);
  detail::WaitOutcome await(std::int32_t phase, Deadline deadline, detail::Interruptible interruptible);
  std::string described() const;

  mutable std::atomic<std::uint64_t> state_;  // a child's phase follows the root's when somebody looks
  Phaser* const parent_;
  Phaser* const root_;
  const std::string name_;
  ReentrantLock registering_;  // a child's first party, which registers the child with its parent
  detail::WaitQueue queue_;    // the root's
};

}  // namespace creel
