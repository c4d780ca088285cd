#include "thread_dumper.hpp"
#include "virtual_scheduler.hpp"

#include <sys/syscall.h>

#include <algorithm>

// The threads of a dump that are not parked by creel: they compute, or wait in the kernel for something of
// others.

namespace creel {

using detail::WalkRegisters;
using Innermost = detail::Unwinder::Innermost;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

void ThreadDumper::sample_running(const std::vector<std::size_t>& running) {
  std::vector<std::size_t> whose;
  std::vector<pid_t> tids;
  for (const std::size_t i : running) {
    ThreadInfo& info = dump_.threads_[i];
    if (info.os_tid == 0) {  // a virtual thread is sampled where it runs
      if (!info.is_virtual) info.stack_missing = "about to begin or to end";
      continue;
    }
    if (!engine_.sampler.installed()) {
      info.stack_missing = "no creel::Diagnostics in this process";
      continue;
    }
    whose.push_back(i);
    tids.push_back(info.os_tid);
  }
  // A thread that waits in the kernel shows where in its own words, as long as it is not disturbed; one whose
  // wait the signal would end is not.
  std::size_t kept = 0;
  for (std::size_t k = 0; k < whose.size(); ++k) {
    if (read_blocked_call(whose[k])) continue;
    whose[kept] = whose[k];
    tids[kept++] = tids[k];
  }
  whose.resize(kept);
  tids.resize(kept);
  engine_.sampler.sample(
      tids, [&](std::size_t k, const detail::ThreadSample& sample) { take_sample(whose[k], sample); },
      [&](std::size_t k, std::string why) { dump_.threads_[whose[k]].stack_missing = std::move(why); });
}

// True if its stack was read as well.
bool ThreadDumper::read_blocked_call(std::size_t i) {
  ThreadInfo& info = dump_.threads_[i];
  const std::uint64_t switches = detail::read_switches(info.os_tid);
  const detail::BlockedCall call = detail::read_blocked_call(info.os_tid);
  const bool is_read = detail::ends_early_by_signal(call) && walk_blocked(i, call, switches);
  if (!call.blocked || call.number != SYS_futex) return is_read;
  // Somebody else's lock or condition, as far as the kernel can tell.
  const detail::ForeignLock lock = detail::find_foreign_lock(call);
  WaitInfo& wait = info.wait.emplace();
  wait.timed = lock.timed;
  info.state = wait.timed ? ThreadState::TimedWaiting : ThreadState::Waiting;
  wait.on.address = lock.owner != 0 ? lock.address : call.arguments[0];
  wait.on.type = lock.owner != 0 ? lock.type : "futex";
  pending_[i].lock_owner = lock.owner;
  return is_read;
}

void ThreadDumper::show_mounted(std::size_t thread, std::size_t carrier) {
  dump_.threads_[thread].carrier = dump_.threads_[carrier].id;
  dump_.threads_[thread].os_tid = dump_.threads_[carrier].os_tid;
  dump_.threads_[carrier].stack_missing = "runs its virtual thread";
}

// Without a signal only two of its registers are known: where a function keeps its frame in another one, the
// stack is cut.
bool ThreadDumper::walk_blocked(std::size_t i, const detail::BlockedCall& call, std::uint64_t switches) {
  std::size_t whose = i;
  if (const std::uint64_t mounted = dump_.threads_[i].carrying; mounted != 0) {
    const std::optional<std::size_t> other = index_of(mounted);
    if (!other || pending_[*other].frame_count > 0) return false;
    whose = *other;
  }
  const detail::ThreadRecord* const record = pending_[whose].record.get();
  const bool on_stack = record != nullptr && record->is_on_stack(call.stack_pointer);
  if (record != nullptr && !on_stack) return false;
  const detail::StackCopy stack =
      detail::copy_blocked_stack(dump_.threads_[i].os_tid, call.stack_pointer,
                                 on_stack ? record->stack_high.load(kRelaxed) : 0, switches, buffer_);
  if (stack.size == 0) return false;
  if (whose != i) show_mounted(whose, i);
  WalkRegisters registers;
  registers.set(WalkRegisters::kRip, call.program_counter);
  registers.set(WalkRegisters::kRsp, call.stack_pointer);
  walk(whose, registers, Innermost::Interrupted, stack);
  if (record != nullptr) read_held_locks(dump_.threads_[whose], pending_[whose]);
  return true;
}

void ThreadDumper::take_sample(std::size_t i, const detail::ThreadSample& sample) {
  dump_.longest_stop_ = std::max(dump_.longest_stop_, sample.stopped);
  // On a carrier the thread that was stopped may be a virtual one, and not the one that was there a moment
  // ago.
  std::size_t whose = i;
  if (sample.record_id != 0 && sample.record_id != dump_.threads_[i].id) {
    const std::optional<std::size_t> other = index_of(sample.record_id);
    if (!other) return;
    whose = *other;
    dump_.threads_[i].carrying = sample.record_id;
    show_mounted(whose, i);
    if (pending_[whose].frame_count > 0) return;  // it was parked when it was read: that is a whole picture
  }
  // It may have parked since: then its wait and its state are worth more than the sample.
  if (pending_[whose].record != nullptr && read_parked(whose)) return;
  walk(whose, sample.registers, Innermost::Interrupted, sample.stack);
  dump_.threads_[whose].stack_cut |= sample.capped && dump_.threads_[whose].stack_cut;
  if (pending_[whose].record != nullptr) read_held_locks(dump_.threads_[whose], pending_[whose]);
}

}  // namespace creel
