#pragma once

#include <creel/runtime/thread.hpp>

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

// What the runtime knows of a thread, laid out so that a dump can read it at any moment without stopping the thread.
//
// Everything that a dump reads is an atomic (relaxed unless a comment says otherwise) and stands under one of two
// sequence counters: ParkSite::epoch and ActivityText::epoch. A reader copies, then checks that the counter did not
// move. Pointers into user objects (a lock, a channel) may dangle by the time they are followed; they are only ever
// read through safe_read() (process_vm_readv on ourselves), which fails instead of faulting.

namespace creel::detail {

/// The registers that a walk by call frame information needs, as they are in the frame that called the wait.
struct Registers {
  std::uint64_t rip = 0, rsp = 0, rbp = 0, rbx = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
};

/// Where, on what and since when a thread is parked. epoch is odd while it is; the fields are valid then.
struct ParkSite {
  std::atomic<std::uint64_t> epoch{0};
  Registers registers;  // written by call_published() before epoch turns odd (release); stable until it is even again
  std::atomic<const void*> object{nullptr};        // identity of what is waited for: <0x…> in the dump
  std::atomic<const char*> type{nullptr};          // static string: "creel::ReentrantLock"
  std::atomic<const char*> name{nullptr};          // NUL-terminated, may live in the object; nullptr: none
  std::atomic<const std::atomic<std::uint64_t>*> owner{nullptr};  // id of the owning thread, in the object; nullptr: none
  std::atomic<WaitKind> kind{WaitKind::Parking};
  std::atomic<bool> timed{false};
  std::atomic<std::int64_t> since_ns{0};           // CLOCK_MONOTONIC
};

/// What the thread works on, one line of text, set by Activity. Written by its own thread only.
struct ActivityText {
  static constexpr std::size_t kCapacity = 120;  // with the counter: two cache lines
  std::atomic<std::uint64_t> epoch{0};           // odd while being written
  std::array<std::atomic<std::uint64_t>, kCapacity / 8> words{};  // text in words so that reads are atomic

  void set(std::string_view text) noexcept;
  std::string get() const;  // any thread
};

/// A lock that the thread holds; at most kHeldShown are remembered, the rest only counted.
struct HeldLock {
  std::atomic<const void*> object{nullptr};
  std::atomic<const char*> type{nullptr};
  std::atomic<std::uintptr_t> stack_pointer{0};  // in the frame that locked: places `- locked` under that frame
  std::atomic<bool> monitor{false};              // a Monitor (`- locked`) or an ownable synchronizer (jstack -l)
};

class ThreadRecord : public std::enable_shared_from_this<ThreadRecord> {
 public:
  static constexpr std::size_t kHeldShown = 16;

  std::uint64_t id = 0;                  // Java's thread id: small, never used twice
  bool is_virtual = false;
  bool adopted = false;                  // not started by creel
  std::atomic<bool> daemon{false};
  std::atomic<int> priority{5};          // 1..10, as Java's; shown, and mapped to nice where allowed
  std::atomic<pid_t> os_tid{0};          // 0 before start, after the end, and for an unmounted virtual thread
  std::atomic<ThreadState> state{ThreadState::New};
  std::atomic<bool> interrupted{false};
  std::atomic<std::uint32_t> permit{0};  // LockSupport's token: 1 = unpark() came first. Futex word of platform threads
  std::int64_t started_ns = 0;           // CLOCK_MONOTONIC
  std::uintptr_t stack_low = 0;          // [low, high) of the native stack, or of the virtual thread's own
  std::uintptr_t stack_high = 0;
  std::atomic<std::uint64_t> carrier{0}; // id of the platform thread a virtual one is mounted on; 0 if none
  std::atomic<std::uint64_t> carrying{0};// id of the virtual thread that this carrier runs; 0 if none

  alignas(64) ParkSite park_site;
  ActivityText activity;
  std::array<HeldLock, kHeldShown> held{};
  std::atomic<std::uint32_t> held_count{0};

  std::atomic<std::uint64_t> blocked_count{0}, waited_count{0};

  std::string name() const;
  void set_name(std::string name);
  std::shared_ptr<ThreadContainer::Node> container;  // executor or scope it belongs to; null: root

  void push_held(const void* object, const char* type, bool monitor) noexcept;
  void pop_held(const void* object) noexcept;

 private:
  mutable std::mutex name_lock_;  // a plain mutex: below everything that could be dumped
  std::string name_;
};

/// All live threads; a record leaves it when its thread ends. The dump copies the list under its lock.
class ThreadRegistry {
 public:
  static ThreadRegistry& instance() noexcept;
  void add(std::shared_ptr<ThreadRecord> record);
  void remove(ThreadRecord& record) noexcept;
  std::vector<std::shared_ptr<ThreadRecord>> snapshot() const;
  std::shared_ptr<ThreadRecord> find(std::uint64_t id) const;

  struct Counts { std::uint64_t live = 0, peak = 0, started = 0, daemon = 0; };
  Counts counts() const noexcept;
};

/// The calling thread's record; adopts a foreign thread under its kernel name (`comm`) on first use.
/// Out of line: a thread_local read must not be cached across a switch of virtual threads.
[[gnu::noinline]] ThreadRecord& current_record() noexcept;
/// The same without adopting: nullptr for a thread that creel has not met. Async-signal-safe.
[[gnu::noinline]] ThreadRecord* current_record_or_null() noexcept;

/// Stores the caller's return address, stack pointer and callee-saved registers in `registers`, then tail-calls
/// `wait(argument)`. While that runs, the caller's frame and all above it do not change, so that another thread can
/// copy the live stack [rsp, high) and unwind it from these registers.
extern "C" void creel_call_published(Registers* registers, void (*wait)(void*), void* argument);

/// Copies `size` bytes from an address of our own that may be unmapped; false instead of a fault.
bool safe_read(const void* from, void* to, std::size_t size) noexcept;

}  // namespace creel::detail
