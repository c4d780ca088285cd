#pragma once

#include "shared_member.hpp"

#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/shared_monitor.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

namespace creel::detail {

class SharedCondition;
class ThreadRecord;

/// A lock word. One compare-and-swap takes the lock and says who has it, so that there is no moment at which
/// it is taken by nobody knows whom.
struct OwnerWord {
  static constexpr std::uint64_t kWaiters = 1;  // somebody waits, or has: the release has to look
  static constexpr int kThreadShift = 1, kGenerationShift = 38, kSlotShift = 54;

  static std::uint64_t of(const SharedPresence& presence, std::uint64_t thread) noexcept {
    return std::uint64_t{presence.slot()} << kSlotShift |
           std::uint64_t{presence.generation()} << kGenerationShift | thread << kThreadShift;
  }
  static std::uint64_t owner(std::uint64_t word) noexcept { return word & ~kWaiters; }
  static unsigned slot(std::uint64_t word) noexcept { return static_cast<unsigned>(word >> kSlotShift); }
  static std::uint16_t generation(std::uint64_t word) noexcept {
    return static_cast<std::uint16_t>(word >> kGenerationShift);
  }
  static std::uint64_t thread(std::uint64_t word) noexcept {
    return (word >> kThreadShift) & ((std::uint64_t{1} << (kGenerationShift - kThreadShift)) - 1);
  }
};

/// Who holds a lock, in words for people; written by the holder.
struct SharedHolder {
  static constexpr std::size_t kNameBytes = 48;  // with the NUL
  std::atomic<std::uint64_t> word{0};            // of the owner whom the rest describes; 0 while it changes
  std::atomic<std::int64_t> pid{0};
  std::array<std::atomic<std::uint64_t>, kNameBytes / 8> name{};
};

/// In shared memory.
struct SharedLockState {
  std::atomic<std::uint64_t> word{0};
  SharedHolder holder;
  std::atomic<std::uint32_t> holds{0};  // the owner's
  std::atomic<std::uint32_t> doubt{0};  // 1: an owner died inside, and nobody has repaired what it left
  SharedHolder died;                    // that owner
  SlotSet asking;                       // processes with threads that wait to enter
};

inline constexpr char kSharedMonitorType[] = "creel::SharedMonitor";
inline constexpr char kSharedRingType[] = "creel::SharedRing";

/// A reentrant lock in shared memory that outlives its owner.
///
/// Threads of one process stand in a WaitQueue of its own; its head contends for the shared word, having put
/// its process among those that ask. A release takes one living process from these, in turn, and rings its
/// bell; that process's listener lets the head try again. Whoever finds the word of a dead owner takes the
/// lock over and marks it doubtful.
class SharedLock {
 public:
  SharedLock(SharedPresence& presence, SharedLockState& state, const char* type, std::string name)
      : presence_(presence), state_(state), type_(type), name_(std::move(name)) {}

  WaitOutcome lock(std::uintptr_t stack_pointer, Deadline deadline, Interruptible interruptible) noexcept;
  bool try_lock(std::uintptr_t stack_pointer) noexcept;
  void unlock();
  bool is_held_by(const ThreadRecord& self) const noexcept;
  /// The calling thread's record. Throws Error if it does not hold the lock.
  ThreadRecord& check_owner(const char* operation) const;
  std::uint32_t holds() const noexcept { return state_.holds.load(std::memory_order_relaxed); }

  /// For the owner.
  bool in_doubt() const noexcept { return state_.doubt.load(std::memory_order_relaxed) != 0; }
  void end_doubt() noexcept { state_.doubt.store(0, std::memory_order_relaxed); }
  SharedOwner died() const;

  /// At this moment; nullopt: nobody.
  std::optional<SharedOwner> owner() const;

  /// A condition's wait: the lock goes, however often taken, and comes back.
  struct Hold {
    std::uint32_t holds;
    std::uintptr_t stack_pointer;
  };
  Hold give_up(ThreadRecord& self) noexcept;
  void take_again(ThreadRecord& self, Hold hold) noexcept;
  void add(SharedCondition& condition) noexcept;

  void look() noexcept;
  SharedPresence& presence() const noexcept { return presence_; }
  SharedLockState& state() const noexcept { return state_; }
  const char* name() const noexcept { return name_.c_str(); }

 private:
  static constexpr std::size_t kConditions = 2;

  std::uint64_t word_of(const ThreadRecord& self) const noexcept;
  bool is_dead(std::uint64_t word) const noexcept;
  bool take(std::uint64_t mine) noexcept;
  bool take_or_ask(std::uint64_t mine) noexcept;
  WaitOutcome lock_contended(ThreadRecord& self, Deadline deadline, Interruptible interruptible) noexcept;
  void took(ThreadRecord& self, Hold hold) noexcept;
  void sign(ThreadRecord& self, std::uint64_t mine) noexcept;
  void release(std::uint64_t mine) noexcept;
  void pass_on() noexcept;
  void note_death(std::uint64_t owner) noexcept;

  SharedPresence& presence_;
  SharedLockState& state_;
  const char* type_;
  std::string name_;
  std::atomic<std::uint64_t> local_owner_{0};  // id of the thread of this process that holds it; 0: none
  std::array<SharedCondition*, kConditions> conditions_{};
  WaitQueue queue_;
};

/// For dumps: who holds the SharedMonitor or SharedRing `object`, as Blocker has it, of another process.
/// nullopt for other types and if nobody does.
std::optional<SharedOwner> read_shared_owner(const char* type, const void* object);

}  // namespace creel::detail
