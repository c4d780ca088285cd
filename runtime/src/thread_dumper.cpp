#include "thread_dumper.hpp"

#include "deadlock_search.hpp"
#include "native_thread.hpp"
#include "own_stack.hpp"
#include "scoped_bindings.hpp"
#include "shared_lock.hpp"
#include "stack_batch.hpp"
#include "stack_figures.hpp"
#include "thread_container_node.hpp"
#include "virtual_scheduler.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <unordered_map>

namespace creel {

using detail::WalkRegisters;
using Innermost = detail::Unwinder::Innermost;

namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::size_t kKnownNames = 8, kThreadsWithNames = 256;
constexpr int kParkedAttempts = 4;

double cpu_ms(pid_t tid) noexcept {
  // The kernel's encoding of "the scheduled time of thread tid"; pthread_getcpuclockid wants a pthread_t.
  const auto clock = static_cast<clockid_t>(~static_cast<unsigned>(tid) << 3 | 6U);
  timespec used{};
  if (::clock_gettime(clock, &used) != 0) return -1;
  return static_cast<double>(used.tv_sec) * 1e3 + static_cast<double>(used.tv_nsec) / 1e6;
}

std::string_view static_text(const char* text) noexcept {
  return text != nullptr ? text : std::string_view{};
}

// Of the functions inlined into one frame, the last from `first` on, which one took a lock is not known: the
// outermost, but rather one of the user's than what std::thread is made of.
int locking_frame(const std::vector<const StackFrame*>& stack, std::size_t first) noexcept {
  for (std::size_t i = stack.size(); i > first; --i) {
    if (!stack[i - 1]->function.starts_with("std::")) return static_cast<int>(i) - 1;
  }
  return static_cast<int>(stack.size()) - 1;
}

}  // namespace

ThreadDumper::ThreadDumper(detail::DumpEngine& engine, ThreadDump& dump)
    : engine_(engine),
      dump_(dump),
      now_ns_(detail::monotonic_ns()),
      buffer_(detail::ThreadSampler::kStackBytes) {}

void ThreadDumper::run(const DumpOptions& options, WalkRegisters own_registers) {
  dump_.time_ = std::chrono::system_clock::now();
  dump_.pid_ = ::getpid();
  engine_.refresh();
  add_creel_threads();
  add_pins();
  add_foreign_threads();
  std::vector<std::size_t> running;
  read_threads(own_registers, running);
  find_deadlocks();  // before the samples, which take threads out of their system calls for a moment
  if (options.sample_running) sample_running(running);
  name_frames();
  name_owners();
  add_containers();
  if (options.stack_figures) add_stack_figures();
}

void ThreadDumper::add_creel_threads() {
  std::vector<std::shared_ptr<detail::ThreadRecord>> records = detail::ThreadRegistry::instance().snapshot();
  std::stable_partition(records.begin(), records.end(),
                        [](const auto& record) { return !record->is_virtual; });
  dump_.threads_.resize(records.size());
  pending_.resize(records.size());
  raw_.reserve(records.size() * 16);
  for (std::size_t i = 0; i < records.size(); ++i) {
    pending_[i].record = std::move(records[i]);
    describe(dump_.threads_[i], pending_[i]);
  }
}

void ThreadDumper::add_pins() {
  const detail::VirtualScheduler* scheduler = detail::VirtualScheduler::existing();
  if (scheduler == nullptr) return;
  for (const detail::PinWatch::Pin& pin : scheduler->pin_watch().pins()) {
    const std::optional<std::size_t> i = index_of(pin.thread);
    if (!i) continue;
    dump_.threads_[*i].pinned_s = static_cast<double>(now_ns_ - pin.since_ns) / 1e9;
    dump_.threads_[*i].pinned_by = pin.reason;
  }
}

void ThreadDumper::describe(ThreadInfo& info, Pending& pending) {
  const detail::ThreadRecord& record = *pending.record;
  info.id = record.id;
  info.name = record.name();
  info.state = record.state.load(kRelaxed);
  info.is_virtual = record.is_virtual;
  info.daemon = record.daemon.load(kRelaxed);
  info.priority = record.priority.load(kRelaxed);
  const detail::RunningState* const running = record.running.load(std::memory_order_acquire);
  const std::int64_t started_ns = running != nullptr ? running->started_ns.load(kRelaxed) : 0;
  info.elapsed_s = started_ns != 0 ? static_cast<double>(now_ns_ - started_ns) / 1e9 : 0;
  info.address = reinterpret_cast<std::uintptr_t>(&record);
  info.carrier = record.carrier.load(kRelaxed);
  info.container = record.container != nullptr ? record.container->id : 0;
  if (running != nullptr) {
    info.activity = running->activity.get();
    info.carrying = running->carrying.load(kRelaxed);
    info.blocked_count = running->blocked_count.load(kRelaxed);
    info.waited_count = running->waited_count.load(kRelaxed);
    info.blocked_ms = static_cast<double>(running->blocked_ns.load(kRelaxed)) / 1e6;
  }
  info.scoped_values = detail::read_scoped_values(record);
  if (record.is_virtual) return;
  info.os_tid = record.os_tid.load(kRelaxed);
  if (info.os_tid == 0) return;  // about to begin, or at its end
  info.cpu_ms = cpu_ms(info.os_tid);
  // The runtime changes it for priorities other than 5 only, and a system call for every thread shows in a
  // large dump.
  if (info.priority != 5) info.nice = ::getpriority(PRIO_PROCESS, static_cast<id_t>(info.os_tid));
}

// The thread may lock and unlock meanwhile; what is shown of a running thread's locks is what they were at
// one moment or the next, and each entry is whole. A parked thread's do not change.
void ThreadDumper::read_held_locks(ThreadInfo& info, Pending& pending) {
  const detail::ThreadRecord& record = *pending.record;
  const detail::RunningState* running = record.running.load(std::memory_order_acquire);
  const std::uint32_t count = running != nullptr ? running->held_count.load(std::memory_order_acquire) : 0;
  const auto shown = std::min<std::size_t>(count, detail::ThreadRecord::kHeldShown);
  info.held.clear();
  pending.held_at.clear();
  for (std::size_t i = 0; i < shown; ++i) {
    const detail::HeldLock& held = running->held[i];
    HeldLockInfo& each = info.held.emplace_back();
    each.lock.address = reinterpret_cast<std::uintptr_t>(held.object.load(kRelaxed));
    each.lock.type = static_text(held.type.load(kRelaxed));
    each.lock.name = detail::safe_read_text(held.name.load(kRelaxed));
    each.monitor = held.monitor.load(kRelaxed);
    pending.held_at.push_back(held.stack_pointer.load(kRelaxed));
  }
  info.held_more = count - static_cast<std::uint32_t>(shown);
}

void ThreadDumper::read_threads(const WalkRegisters& own_registers, std::vector<std::size_t>& running) {
  const std::uint64_t self = detail::current_record().id;
  detail::StackBatch batch;
  const auto read_batch = [&] {
    batch.copy();
    for (const detail::StackBatch::Entry& each : batch.entries()) {
      if (!use_parked(each.thread, each.wait, each.stack) && !read_parked(each.thread))
        running.push_back(each.thread);
    }
    batch.clear();
  };
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (i % kThreadsWithNames == 0) known_names_.clear();
    if (dump_.threads_[i].id == self) {
      walk_own_stack(i, own_registers);
      continue;
    }
    const detail::ThreadRecord* record = pending_[i].record.get();
    if (record == nullptr || record->is_virtual) {
      if (record == nullptr || !read_parked(i)) running.push_back(i);
      continue;
    }
    const std::optional<detail::WaitSnapshot> wait = detail::read_wait(record->park_site);
    if (!wait || !record->is_on_stack(wait->registers.rsp)) {
      running.push_back(i);
    } else if (!batch.add(i, *wait, record->stack_high, buffer_.size())) {
      read_batch();
      batch.add(i, *wait, record->stack_high, buffer_.size());
    }
  }
  read_batch();
}

// One thread alone: a virtual one, or one that has moved since it was read with others.
bool ThreadDumper::read_parked(std::size_t i) {
  const detail::ThreadRecord& record = *pending_[i].record;
  for (int attempt = 0; attempt < kParkedAttempts; ++attempt) {
    const std::optional<detail::WaitSnapshot> wait = detail::read_wait(record.park_site);
    if (!wait || !record.is_on_stack(wait->registers.rsp)) return false;
    const std::uintptr_t low = wait->registers.rsp, high = record.stack_high;
    detail::StackCopy stack;
    if (record.is_virtual) stack = detail::parked_stack_in_place(low, high);
    if (stack.size == 0) {
      const iovec to{buffer_.data(), std::min<std::size_t>(high - low, buffer_.size())};
      const iovec from{reinterpret_cast<void*>(low), to.iov_len};
      const long copied = ::syscall(SYS_process_vm_readv, dump_.pid_, &to, 1, &from, 1, 0);
      stack = {low, buffer_.data(), copied > 0 ? static_cast<std::size_t>(copied) : 0};
    }
    if (use_parked(i, *wait, stack)) return true;
  }
  return false;
}

const std::string& ThreadDumper::name_of(const detail::WaitSnapshot& wait) {
  for (const KnownName& known : known_names_) {
    if (known.object == wait.object && known.name == wait.name) return known.text;
  }
  if (known_names_.size() == kKnownNames) known_names_.erase(known_names_.begin());
  return known_names_.emplace_back(KnownName{wait.object, wait.name, wait.read_name()}).text;
}

// False if the thread has moved since `wait` was read: what was seen of it may be anything.
bool ThreadDumper::use_parked(std::size_t i, const detail::WaitSnapshot& wait,
                              const detail::StackCopy& stack) {
  ThreadInfo& info = dump_.threads_[i];
  const detail::ThreadRecord& record = *pending_[i].record;
  if (!detail::still_waits(record.park_site, wait)) return false;
  const std::size_t frames_before = raw_.size();
  walk(i, detail::to_walk(wait.registers), Innermost::ReturnAddress, stack);
  read_held_locks(info, pending_[i]);
  WaitInfo described;
  described.kind = wait.kind;
  described.timed = wait.timed;
  described.seconds = static_cast<double>(std::max<std::int64_t>(now_ns_ - wait.since_ns, 0)) / 1e9;
  described.on.address = reinterpret_cast<std::uintptr_t>(wait.object);
  described.on.type = static_text(wait.type);
  described.on.name = name_of(wait);
  described.on.owner = wait.read_owner();
  if (wait.kind == WaitKind::MonitorEnter && described.on.owner == 0) {
    if (auto owner = detail::read_shared_owner(wait.type, wait.object); owner && owner->pid != dump_.pid_) {
      described.on.owner = owner->thread_id;
      described.on.owner_name = std::move(owner->thread_name);
      described.on.owner_pid = owner->pid;
    }
  }
  if (!detail::still_waits(record.park_site, wait)) {
    raw_.resize(frames_before);
    pending_[i].frame_count = 0;
    return false;
  }
  info.state = record.state.load(kRelaxed);
  info.wait = std::move(described);
  pending_[i].wait = wait;
  return true;
}

void ThreadDumper::walk(std::size_t i, const WalkRegisters& registers, Innermost innermost,
                        const detail::StackCopy& stack) {
  pending_[i].first_frame = raw_.size();
  const auto end = engine_.unwinder.walk(registers, innermost, stack, raw_);
  pending_[i].frame_count = raw_.size() - pending_[i].first_frame;
  dump_.threads_[i].stack_cut = end == detail::Unwinder::End::Cut;
  dump_.threads_[i].program_counter = registers.value[WalkRegisters::kRip];
  dump_.threads_[i].stack_pointer = registers.value[WalkRegisters::kRsp];
}

void ThreadDumper::walk_own_stack(std::size_t i, const WalkRegisters& registers) {
  const detail::OwnStack stack(registers.value[WalkRegisters::kRsp]);
  walk(i, registers, Innermost::Interrupted, stack.copy());
  read_held_locks(dump_.threads_[i], pending_[i]);
}

void ThreadDumper::add_foreign_threads() {
  std::vector<pid_t> known;
  for (const ThreadInfo& info : dump_.threads_) {
    if (info.os_tid != 0) known.push_back(info.os_tid);
  }
  std::sort(known.begin(), known.end());
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  timespec boot{};
  ::clock_gettime(CLOCK_BOOTTIME, &boot);
  std::vector<ThreadInfo> added;
  const std::vector<pid_t> tids = detail::ForeignThreads::tids(known);
  engine_.foreign.forget_all_but(tids);
  for (detail::ForeignThreads::Thread& thread : engine_.foreign.identify(tids)) {
    ThreadInfo& info = added.emplace_back();
    info.id = thread.id;
    info.name = std::move(thread.stat.name);
    info.os_tid = thread.tid;
    info.foreign = true;
    info.daemon = true;
    info.nice = thread.stat.nice;
    info.cpu_ms = cpu_ms(thread.tid);
    info.elapsed_s = static_cast<double>(boot.tv_sec) + static_cast<double>(boot.tv_nsec) / 1e9 -
                     static_cast<double>(thread.stat.start_ticks) / ticks_per_second;
  }
  // Before the virtual threads, so that the order is platform, foreign, virtual.
  const auto first_virtual = std::find_if(dump_.threads_.begin(), dump_.threads_.end(),
                                          [](const ThreadInfo& info) { return info.is_virtual; });
  const auto at = first_virtual - dump_.threads_.begin();
  std::vector<Pending> blank(added.size());
  pending_.insert(pending_.begin() + at, std::make_move_iterator(blank.begin()),
                  std::make_move_iterator(blank.end()));
  dump_.threads_.insert(first_virtual, std::make_move_iterator(added.begin()),
                        std::make_move_iterator(added.end()));
}

void ThreadDumper::find_deadlocks() {
  std::vector<std::shared_ptr<detail::ThreadRecord>> records;
  std::vector<pid_t> foreign;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (pending_[i].record != nullptr) records.push_back(pending_[i].record);
    if (dump_.threads_[i].foreign) foreign.push_back(dump_.threads_[i].os_tid);
  }
  // Platform threads, then virtual ones, each sorted.
  const auto first_virtual =
      std::find_if(records.begin(), records.end(), [](const auto& record) { return record->is_virtual; });
  std::inplace_merge(records.begin(), first_virtual, records.end(),
                     [](const auto& a, const auto& b) { return a->id < b->id; });
  const auto identify = [this](pid_t tid) -> std::optional<detail::ForeignThreads::Thread> {
    auto threads = engine_.foreign.identify({tid});
    if (threads.empty()) return std::nullopt;
    return std::move(threads.front());
  };
  dump_.deadlocks_ = detail::DeadlockSearch(records, std::move(foreign), identify).run();
}

void ThreadDumper::name_frames() {
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const Pending& pending = pending_[i];
    ThreadInfo& info = dump_.threads_[i];
    info.stack.reserve(pending.frame_count);
    std::size_t held_next = info.held.size();  // innermost last, so placed from the back
    for (std::size_t k = 0; k < pending.frame_count; ++k) {
      const detail::RawFrame& raw = raw_[pending.first_frame + k];
      const std::size_t inlined = info.stack.size();
      for (const StackFrame& frame : engine_.symbolizer.resolve(engine_.unwinder.code(raw.code))) {
        info.stack.push_back(&frame);
      }
      // A lock remembers where its caller's frame began: below that frame's end, above the ends of all inner
      // ones.
      for (; held_next > 0 && pending.held_at[held_next - 1] < raw.cfa; --held_next) {
        info.held[held_next - 1].depth = locking_frame(info.stack, inlined);
      }
    }
  }
}

std::optional<std::size_t> ThreadDumper::index_of(std::uint64_t id) const noexcept {
  // Few are looked up: deadlocked, contended or mounted ones. Platform and virtual threads are sorted each in
  // itself.
  const auto found = std::find_if(dump_.threads_.begin(), dump_.threads_.end(),
                                  [id](const ThreadInfo& info) { return info.id == id; });
  if (found == dump_.threads_.end()) return std::nullopt;
  return static_cast<std::size_t>(found - dump_.threads_.begin());
}

void ThreadDumper::name_owners() {
  std::unordered_map<std::uint64_t, const std::string*> names;
  std::unordered_map<pid_t, std::uint64_t> ids;
  for (const ThreadInfo& info : dump_.threads_) {
    names.emplace(info.id, &info.name);
    if (!info.is_virtual) ids.emplace(info.os_tid, info.id);
  }
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    ThreadInfo& info = dump_.threads_[i];
    if (!info.wait) continue;
    LockInfo& lock = info.wait->on;
    if (const auto owner = ids.find(pending_[i].lock_owner);
        owner != ids.end() && pending_[i].lock_owner != 0) {
      lock.owner = owner->second;
    }
    if (lock.owner == 0 || lock.owner_pid != 0) continue;
    if (const auto owner = names.find(lock.owner); owner != names.end()) lock.owner_name = *owner->second;
  }
}

void ThreadDumper::add_containers() {
  for (const auto& node : ThreadContainer::Node::snapshot()) {
    const std::uint64_t parent = node->parent != nullptr ? node->parent->id : 0;
    dump_.containers_.push_back({node->id, node->name, static_text(node->type), parent, node->owner});
  }
}

void ThreadDumper::add_stack_figures() {
  const detail::StackMappings mappings;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    if (pending_[i].record == nullptr) continue;
    const detail::ThreadRecord& record = *pending_[i].record;
    if (!record.is_virtual || record.running.load(kRelaxed) != nullptr)
      dump_.threads_[i].stack_figures =
          mappings.figures(record.stack_low.load(kRelaxed), record.stack_high.load(kRelaxed));
  }
}

}  // namespace creel
