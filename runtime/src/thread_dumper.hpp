#pragma once

#include "dump_engine.hpp"
#include "thread_record.hpp"
#include "wait_snapshot.hpp"

#include <creel/runtime/thread_dump.hpp>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace creel {

/// Makes a ThreadDump: lists the threads, reads parked ones in place, samples the running ones, then names
/// what was found.
class ThreadDumper {
 public:
  ThreadDumper(detail::DumpEngine& engine, ThreadDump& dump);
  void run(const DumpOptions& options, detail::WalkRegisters own_registers);

 private:
  // What is kept of a thread until its frames are named. Runs parallel to dump_.threads_.
  struct Pending {
    std::shared_ptr<detail::ThreadRecord> record;  // null: foreign
    std::size_t first_frame = 0, frame_count = 0;  // in raw_
    std::vector<std::uintptr_t> held_at;           // stack pointers of ThreadInfo::held
    std::optional<detail::WaitSnapshot> wait;
    pid_t lock_owner = 0;  // of the foreign lock that it waits for
  };
  // The name of what a thread waited for a moment ago: most often the next one waits for the same, and to
  // read a text that may be gone takes a system call. Forgotten after some threads, before the object can
  // have made room for another one.
  struct KnownName {
    const void* object;
    const char* name;
    std::string text;
  };

  void add_creel_threads();
  void add_pins();
  void add_foreign_threads();
  void describe(ThreadInfo& info, Pending& pending);
  const std::string& name_of(const detail::WaitSnapshot& wait);
  void read_held_locks(ThreadInfo& info, Pending& pending);
  void read_threads(const detail::WalkRegisters& own_registers, std::vector<std::size_t>& running);
  bool read_parked(std::size_t i);
  bool use_parked(std::size_t i, const detail::WaitSnapshot& wait, const detail::StackCopy& stack);
  void walk_own_stack(std::size_t i, const detail::WalkRegisters& registers);
  void find_deadlocks();
  void sample_running(const std::vector<std::size_t>& running);
  void show_mounted(std::size_t thread, std::size_t carrier);
  void take_sample(std::size_t i, const detail::ThreadSample& sample);
  bool read_blocked_call(std::size_t i);
  bool walk_blocked(std::size_t i, const detail::BlockedCall& call, std::uint64_t switches);
  void walk(std::size_t i, const detail::WalkRegisters& registers, detail::Unwinder::Innermost innermost,
            const detail::StackCopy& stack);
  void name_frames();
  void name_owners();
  void add_containers();
  void add_stack_figures();
  std::optional<std::size_t> index_of(std::uint64_t id) const noexcept;

  detail::DumpEngine& engine_;
  ThreadDump& dump_;
  std::int64_t now_ns_;
  std::vector<Pending> pending_;
  std::vector<detail::RawFrame> raw_;
  std::vector<std::byte> buffer_;
  std::vector<KnownName> known_names_;
};

}  // namespace creel
