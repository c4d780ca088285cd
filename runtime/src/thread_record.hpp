#pragma once

#include "compact_name.hpp"
#include "fresh_thread_local.hpp"

#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_container.hpp>

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

// What the runtime knows of a thread, laid out so that a dump can read it at any moment without stopping the
// thread.
//
// Everything that a dump reads is an atomic (relaxed unless a comment says otherwise) and stands under one of
// two sequence counters: ParkSite::epoch and ActivityText::epoch. A reader copies, then checks that the
// counter did not move. Pointers into user objects (a lock, a channel) may dangle by the time they are
// followed; they are only ever read through safe_read() (process_vm_readv on ourselves), which fails instead
// of faulting.

namespace creel {
class WakerSet;
}

namespace creel::detail {

struct ScopedBinding;
class ThreadLocalMap;

/// The registers that a walk by call frame information needs, as they are in the frame that called the wait.
struct Registers {
  std::uint64_t rip = 0, rsp = 0, rbp = 0, rbx = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
};

/// Where, on what and since when a thread is parked. epoch is odd while it is; the fields are valid then.
struct ParkSite {
  std::atomic<std::uint64_t> epoch{0};
  Registers registers;  // written by call_published() before epoch turns odd (release); stable until it is
                        // even again
  std::atomic<const void*> object{nullptr};  // identity of what is waited for: <0x…> in the dump
  std::atomic<const char*> type{nullptr};    // static string: "creel::ReentrantLock"
  std::atomic<const char*> name{nullptr};    // NUL-terminated, may live in the object; nullptr: none
  std::atomic<const std::atomic<std::uint64_t>*> owner{
      nullptr};                                  // id of the owning thread, in the object; nullptr: none
  std::atomic<const WakerSet*> wakers{nullptr};  // in the object; nullptr: none are declared
  std::atomic<WaitKind> kind{WaitKind::Parking};
  std::atomic<bool> timed{false};
  std::atomic<std::int64_t> since_ns{0};  // CLOCK_MONOTONIC
};

/// What the thread works on, one line of text, set by Activity. Written by its own thread only.
struct ActivityText {
  static constexpr std::size_t kCapacity = 120;                   // with the counter: two cache lines
  std::atomic<std::uint64_t> epoch{0};                            // odd while being written
  std::array<std::atomic<std::uint64_t>, kCapacity / 8> words{};  // text in words so that reads are atomic

  void set(std::string_view text) noexcept;
  std::string get() const;  // any thread
};

/// A lock that the thread holds; at most kHeldShown are remembered, the rest only counted.
struct HeldLock {
  std::atomic<const void*> object{nullptr};
  std::atomic<const char*> type{nullptr};
  std::atomic<const char*> name{nullptr};  // NUL-terminated, lives in the lock; nullptr: none
  std::atomic<std::uintptr_t> stack_pointer{
      0};                            // the locking frame's, at its call: places `- locked` under it
  std::atomic<bool> monitor{false};  // a Monitor (`- locked`) or an ownable synchronizer (jstack -l)
};

/// How often the thread holds a ReentrantReadWriteLock for reading.
struct ReadHold {
  const void* lock;
  std::uint32_t count;
};

struct MapComputation;  // of detail/concurrent_hash_table.hpp; on the stack of its thread

/// What only the running thread writes and a parked one keeps still. Of a platform thread it lies with the
/// record; of a virtual one at the top of its stack, whose page is there anyway (a million records are not
/// made larger by it). Stacks are never unmapped, so that a dump may read one that has just changed hands.
struct RunningState {
  static constexpr std::size_t kHeldShown = 6;
  std::array<HeldLock, kHeldShown> held{};
  ActivityText activity;
  std::atomic<std::int64_t> started_ns{0};  // CLOCK_MONOTONIC; 0 until it runs
  std::atomic<std::uint32_t> held_count{0};
  std::atomic<std::uint32_t> blocked_count{0}, waited_count{0};  // as ThreadMXBean counts
  std::atomic<std::int64_t> blocked_ns{0};                       // waiting to enter monitors, in all
  std::atomic<std::uint64_t> carrying{0};       // id of the virtual thread that this carrier runs; 0 if none
  std::atomic<const char*> pinned_by{nullptr};  // why its innermost PinnedScope is there; null: it is in none
  std::unique_ptr<std::vector<ReadHold>> read_holds;  // null: none yet
  const MapComputation* computing = nullptr;          // the innermost
  const ThreadContainer* starts_in =
      nullptr;  // where threads that this one starts belong: see ContainerScope
};

/// A place in a WaitQueue. It lies in the record, not on the stack: a thread waits in one queue at a time,
/// and nobody but its own thread may point into the stack of a parked virtual thread.
struct WaitNode {
  WaitNode* previous = nullptr;
  WaitNode* next = nullptr;
  ThreadRecord* thread = nullptr;
};

/// The same in a condition's list.
struct ConditionNode {
  ConditionNode* previous = nullptr;
  ConditionNode* next = nullptr;
  ThreadRecord* thread = nullptr;
  std::atomic<bool> notified{false};
  // Of a condition of a lock: whether its thread has set out for the lock by itself, or whoever notified it
  // has put it into the lock's queue, so that notified threads stand there in order.
  enum class Way : std::uint8_t { None, Own, Queued };
  std::atomic<Way> way{Way::None};

  /// Decides for `taken`; false if it was decided before.
  bool take(Way taken) noexcept {
    Way none = Way::None;
    // acq_rel: the queue's lock orders the rest.
    return way.compare_exchange_strong(none, taken, std::memory_order_acq_rel);
  }
};

class ThreadRecord {
 public:
  static constexpr std::size_t kHeldShown = RunningState::kHeldShown;

  ~ThreadRecord();  // not virtual: only shared pointers made for the whole type destroy one
  ThreadRecord(const ThreadRecord&) = delete;
  ThreadRecord& operator=(const ThreadRecord&) = delete;

  const std::atomic<std::uint64_t> id;  // Java's thread id: small, never used twice. Atomic as Blocker::owner
                                        // wants it: whoever joins waits for this thread
  const bool is_virtual;
  bool adopted = false;  // not started by creel
  std::atomic<bool> daemon{false};
  std::atomic<std::int8_t> priority{5};  // 1..10, as Java's; shown, and mapped to nice where allowed
  std::atomic<ThreadState> state{ThreadState::New};
  // Not 0: the interrupt flag is set, and by whom: Thread::interrupt(), StopInterrupt, or both.
  static constexpr std::uint8_t kInterrupt = 1, kStopInterrupt = 2;
  std::atomic<std::uint8_t> interrupted{0};
  std::atomic<bool> has_handler{false};  // for uncaught exceptions: see uncaught_handlers.hpp
  mutable SpinLock name_lock;
  std::atomic<pid_t> os_tid{0};  // 0 before start, after the end, and for an unmounted virtual thread
  // LockSupport's token, the futex word of platform threads and of a virtual one that stays on its carrier.
  static constexpr std::uint32_t kNoPermit = 0, kPermit = 1, kParked = 2, kParkedPinned = 3;
  std::atomic<std::uint32_t> permit{kNoPermit};
  std::atomic<std::uintptr_t> stack_low{
      0};  // [low, high) of the native stack, or of the virtual thread's own
  std::atomic<std::uintptr_t> stack_high{0};
  bool is_on_stack(std::uintptr_t address) const noexcept {
    return address >= stack_low.load(std::memory_order_relaxed) &&
           address < stack_high.load(std::memory_order_relaxed);
  }
  std::atomic<std::uint64_t> carrier{0};  // id of the platform thread a virtual one is mounted on; 0 if none

  ParkSite park_site;
  std::atomic<RunningState*> running{
      nullptr};  // null before a virtual thread's first turn and after its last
  /// For the thread itself.
  RunningState& own() const noexcept { return *running.load(std::memory_order_relaxed); }

  std::string name() const;
  void set_name(std::string_view name);
  void set_name(std::string_view prefix, std::uint64_t number);
  std::shared_ptr<ThreadContainer::Node> container;  // executor or scope it belongs to; null: root

  /// Remembers a lock that the calling thread (the record's own) has just taken.
  void push_held(const void* object, const char* type, const char* name, bool monitor,
                 std::uintptr_t stack_pointer) noexcept {
    RunningState& mine = own();
    const std::uint32_t count = mine.held_count.load(std::memory_order_relaxed);
    if (count < kHeldShown) [[likely]] {
      HeldLock& slot = mine.held[count];
      slot.object.store(object, std::memory_order_relaxed);
      slot.type.store(type, std::memory_order_relaxed);
      slot.name.store(name, std::memory_order_relaxed);
      slot.stack_pointer.store(stack_pointer, std::memory_order_relaxed);
      slot.monitor.store(monitor, std::memory_order_relaxed);
    }
    mine.held_count.store(count + 1,
                          std::memory_order_release);  // a reader that sees the count sees the slot
  }
  /// Forgets it if it is the last one taken, and says whether it was.
  bool pop_last_held(const void* object) noexcept {
    RunningState& mine = own();
    const std::uint32_t last = mine.held_count.load(std::memory_order_relaxed) - 1;
    if (last >= kHeldShown || mine.held[last].object.load(std::memory_order_relaxed) != object) return false;
    mine.held_count.store(last, std::memory_order_relaxed);
    return true;
  }
  /// Forgets it; returns the stack pointer it was pushed with (0: it was not among those shown).
  std::uintptr_t pop_held(const void* object) noexcept;

  /// Tests and clears the interrupt flag; the record's own thread. Not 0 if it was set: by whom.
  std::uint8_t take_interrupt() noexcept {
    const std::uint8_t now = interrupted.load(std::memory_order_relaxed);
    return now != 0 ? interrupted.exchange(0, std::memory_order_seq_cst) : now;
  }
  /// Sets it again: after a wait that is not to be interrupted and had taken it.
  void put_interrupt_back(std::uint8_t taken) noexcept {
    if (taken != 0) interrupted.fetch_or(taken, std::memory_order_seq_cst);
  }

  std::unique_ptr<ThreadLocalMap>
      locals;  // values of ThreadLocals; null: none. Its own thread's, once started
  // The innermost binding of a ScopedValue; on the stack of this thread, or of the owner of its TaskScope.
  std::atomic<const ScopedBinding*> scoped_values{nullptr};

  WaitNode wait_node;  // in a WaitQueue
  ConditionNode
      condition_node;  // in a condition's list; the thread may stand in both while it takes its lock again
  WaitQueue joiners;
  std::stop_source stopper{std::nostopstate};  // with a state if the thread's body takes a stop_token

  /// The last act of a thread: TERMINATED, off the registry, joiners woken. The record may be gone
  /// afterwards.
  void end() noexcept;

  /// While the thread lives, which is while anybody may ask: itself, who finds it in a queue, its registry.
  const std::shared_ptr<ThreadRecord>& shared_from_this() const noexcept { return self_; }

 protected:
  explicit ThreadRecord(bool is_virtual);  // takes the next id

 private:
  friend class ThreadRegistry;

  CompactName name_;
  std::shared_ptr<ThreadRecord> self_;  // set while registered: a live thread needs no handle
  ThreadRecord* previous_ = nullptr;
  ThreadRecord* next_ = nullptr;
};

/// A thread of the operating system.
class PlatformThread final : public ThreadRecord {
 public:
  explicit PlatformThread(std::function<void()> thread_body = nullptr, std::size_t stack_bytes = 0)
      : ThreadRecord(false), body(std::move(thread_body)), stack_size(stack_bytes) {
    running.store(&state_, std::memory_order_relaxed);
  }

  std::function<void()> body;    // until it begins
  const std::size_t stack_size;  // 0: the system's default

 private:
  RunningState state_;
};

/// Numbers threads; none is used twice.
std::uint64_t next_thread_id() noexcept;

/// All live threads; a record leaves it when its thread ends. Sharded by id: virtual threads come and go by
/// the million. After fork() the child's holds the forking thread alone.
class ThreadRegistry {
 public:
  static ThreadRegistry& instance() noexcept;
  void add(std::shared_ptr<ThreadRecord> record);
  /// Returns the registry's hold on it.
  std::shared_ptr<ThreadRecord> remove(ThreadRecord& record) noexcept;
  std::vector<std::shared_ptr<ThreadRecord>> snapshot() const;
  std::shared_ptr<ThreadRecord> find(std::uint64_t id) const;

  using Counts = ThreadCounts;
  Counts counts() const noexcept;
  void reset_peak() noexcept;

 private:
  struct State;
  ThreadRegistry();
  State* state_;  // never freed: threads may end after the last static destructor
};

/// The calling thread's record; nullptr for a thread that creel has not met. Async-signal-safe.
inline ThreadRecord* current_record_or_null() noexcept {
  ThreadRecord* record;
  CREEL_READ_THREAD_LOCAL(creel_thread_record, record);
  return record;
}
/// Makes a record for the calling thread, which creel has not met, under its kernel name (`comm`).
ThreadRecord& adopt_current_thread() noexcept;
/// The calling thread's record; adopts a foreign thread on first use.
inline ThreadRecord& current_record() noexcept {
  ThreadRecord* record = current_record_or_null();
  return record != nullptr ? *record : adopt_current_thread();
}
/// Makes `record` what current_record() gives on this thread: a carrier mounts and unmounts its virtual
/// threads so.
inline void set_current_record(ThreadRecord* record) noexcept {
  CREEL_WRITE_THREAD_LOCAL(creel_thread_record, record);
}
/// Makes `record` the calling thread's until the thread's last destructor has run, which calls record->end().
void attach_record_to_thread(const std::shared_ptr<ThreadRecord>& record) noexcept;

/// The calling function's caller's stack pointer at the call, for push_held().
[[gnu::always_inline]] inline std::uintptr_t caller_stack_pointer() noexcept {
  // Frame pointers are on: saved rbp and the return address lie between.
  return reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) + 2 * sizeof(void*);
}

/// Stores the caller's return address, stack pointer and callee-saved registers in `registers`, then
/// tail-calls `wait(argument)`. While that runs, the caller's frame and all above it do not change, so that
/// another thread can copy the live stack [rsp, high) and unwind it from these registers.
extern "C" void creel_call_published(Registers* registers, void (*wait)(void*), void* argument);

/// Copies `size` bytes from an address of our own that may be unmapped; false instead of a fault.
bool safe_read(const void* from, void* to, std::size_t size) noexcept;

}  // namespace creel::detail
