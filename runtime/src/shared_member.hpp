#pragma once

#include <creel/runtime/detail/function_ref.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/semaphore.hpp>
#include <creel/runtime/shared_segment.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <sys/types.h>

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

// Who takes part in the monitors and rings of a segment, and who of them lives.
//
// A process takes a slot by locking one byte of the segment's file (an open file description lock). The
// kernel gives that up when the last thread of the process is past its last instruction, whatever ended it: a
// number used twice, a main thread that ended first, or a second PID namespace do not matter, and nobody is
// taken for dead who could still write. Each taking of a slot has a generation, so that what a dead process
// left under its slot is not taken for its successor's.

namespace creel::detail {

constexpr std::size_t kSharedSlots = 256;

/// A set of slots in shared memory. Sequentially consistent: who adds itself and then finds a lock taken is
/// seen by who frees the lock and then looks.
class SlotSet {
 public:
  void add(unsigned slot) noexcept {
    if (!contains(slot)) word(slot).fetch_or(bit(slot));
  }
  /// Whether it was there.
  bool remove(unsigned slot) noexcept {
    return contains(slot) && (word(slot).fetch_and(~bit(slot)) & bit(slot)) != 0;
  }
  bool contains(unsigned slot) const noexcept { return (words_[slot / 64].load() & bit(slot)) != 0; }
  bool empty() const noexcept { return !next(0); }
  /// The first one at or after `from`.
  std::optional<unsigned> next(unsigned from) const noexcept {
    for (; from < kSharedSlots; from = (from / 64 + 1) * 64) {
      const std::uint64_t rest = words_[from / 64].load() >> (from % 64);
      if (rest != 0) return from + static_cast<unsigned>(std::countr_zero(rest));
    }
    return std::nullopt;
  }
  /// The first one after `slot`, which comes last itself.
  std::optional<unsigned> next_after(unsigned slot) const noexcept {
    const auto higher = next(slot + 1);
    return higher ? higher : next(0);
  }

 private:
  static std::uint64_t bit(unsigned slot) noexcept { return std::uint64_t{1} << (slot % 64); }
  std::atomic<std::uint64_t>& word(unsigned slot) noexcept { return words_[slot / 64]; }

  std::array<std::atomic<std::uint64_t>, kSharedSlots / 64> words_{};
};

struct alignas(64) SharedSlot {
  std::atomic<std::uint32_t> generation{0};  // 16 bits; 0: never taken
  std::atomic<std::uint32_t> bell{0};        // futex word: rung when its process should look
};

/// In the segment's header.
struct SharedMemberTable {
  std::array<SharedSlot, kSharedSlots> slots;
};

/// Something in a segment at which threads of this process wait: its part outside of shared memory.
class SharedPlace {
 public:
  virtual ~SharedPlace() = default;
  /// Wakes those who may be able to go on. On the listener's thread.
  virtual void look() noexcept = 0;
};

/// This process as a member of one segment: its slot, its places, and the thread that listens for the bell.
/// While threads wait, that thread looks every 50 ms even if nobody rings, since who should have may be dead.
class SharedPresence {
 public:
  /// `file` stays the caller's. Throws Error if all slots are taken, or as Thread::Builder::start().
  SharedPresence(SharedMemberTable& table, int file, std::string name);
  ~SharedPresence();
  SharedPresence(const SharedPresence&) = delete;
  SharedPresence& operator=(const SharedPresence&) = delete;

  /// False in the child of a fork(): there it is the parent's.
  bool is_current() const noexcept;
  unsigned slot() const noexcept { return slot_; }
  std::uint16_t generation() const noexcept { return generation_; }
  bool is_alive(unsigned slot, std::uint16_t generation) const noexcept;
  /// Whether some process has that slot.
  bool is_occupied(unsigned slot) const noexcept;
  /// Has that process look.
  void ring(unsigned slot) const noexcept;

  /// Around the waits of threads; cheap.
  void begin_wait() noexcept;
  void end_wait() noexcept { waiting_.fetch_sub(1, std::memory_order_relaxed); }

  /// The place for the object at `offset`, made by `make` if there is none yet.
  SharedPlace& place(std::uint64_t offset, FunctionRef<std::unique_ptr<SharedPlace>()> make);

 private:
  void take_slot();
  void listen() noexcept;
  void look() noexcept;

  SharedMemberTable& table_;
  const int file_;
  const std::string name_;
  const std::uint32_t epoch_;  // of the process: fork() begins another
  unsigned slot_ = 0;
  std::uint16_t generation_ = 0;
  std::mutex places_lock_;
  std::map<std::uint64_t, std::unique_ptr<SharedPlace>> places_;
  std::atomic<std::uint32_t> waiting_{0};  // threads
  std::atomic<bool> stop_{false};
  Semaphore ended_{0};
  Thread listener_;
};

/// A segment's file mapped once more, for as long as monitors or rings of it are in use: one per file, so
/// that a monitor reached through two SharedSegments has one place.
class SharedMember {
 public:
  static std::shared_ptr<SharedMember> of(const SharedSegment& segment);
  ~SharedMember();
  SharedMember(const SharedMember&) = delete;
  SharedMember& operator=(const SharedMember&) = delete;

  /// The calling process's; in the child of a fork() a new one.
  SharedPresence& presence();
  template <typename T>
  T& at(std::uint64_t offset) const noexcept {
    return *reinterpret_cast<T*>(base_ + offset);
  }

 private:
  class Registry;
  SharedMember(const SharedSegment& segment, dev_t device, ino_t inode);
  void renew_file_after_fork() noexcept;

  const std::string name_;
  const dev_t device_;
  const ino_t inode_;
  const std::size_t bytes_;
  const std::uint64_t table_offset_;
  UniqueFd file_;  // a description of its own: others' ends must not release our locks
  std::byte* base_ = nullptr;
  std::unique_ptr<SharedPresence> presence_;  // guarded by the registry's lock
};

/// What a SharedMonitor or SharedRing holds on to: an object of a segment and this process's place for it.
template <typename Place>
class SharedHandle {
 public:
  SharedHandle(const SharedSegment& segment, std::uint64_t offset, std::string name)
      : member_(SharedMember::of(segment)), offset_(offset), name_(std::move(name)) {
    place();
  }

  Place& place() const {
    Place* const known = place_.load(std::memory_order_acquire);
    if (known != nullptr && known->presence().is_current()) [[likely]]
      return *known;
    SharedPresence& presence = member_->presence();
    Place& mine = static_cast<Place&>(presence.place(offset_, [&]() -> std::unique_ptr<SharedPlace> {
      return std::make_unique<Place>(presence, *member_, offset_, name_);
    }));
    place_.store(&mine, std::memory_order_release);
    return mine;
  }
  const std::string& name() const noexcept { return name_; }
  SharedMember& member() const noexcept { return *member_; }

 private:
  std::shared_ptr<SharedMember> member_;
  std::uint64_t offset_;
  std::string name_;
  mutable std::atomic<Place*> place_{nullptr};
};

}  // namespace creel::detail
