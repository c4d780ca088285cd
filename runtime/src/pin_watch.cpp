#include "pin_watch.hpp"

#include "dump_engine.hpp"
#include "native_thread.hpp"
#include "runtime_counters.hpp"
#include "virtual_scheduler.hpp"
#include "wait_snapshot.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string_view>

namespace creel {
namespace {

using std::chrono::nanoseconds;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr std::chrono::milliseconds kLongestRest{200};
constexpr int kLeastRest = 20;  // of the watch, in times of what its last look took

enum class Trace : std::uint8_t { Off, Short, Full };

Trace configured_trace() {
  const char* text = std::getenv("CREEL_TRACE_PINNED");
  if (text == nullptr || std::string_view(text) == "short") return Trace::Short;
  if (std::string_view(text) == "off") return Trace::Off;
  if (std::string_view(text) == "full") return Trace::Full;
  log::warn("virtual_threads.bad_environment",
            {{"CREEL_TRACE_PINNED", text}, {"allowed", "off, short, full"}});
  return Trace::Short;
}

nanoseconds configured_threshold() {
  constexpr std::chrono::milliseconds kDefault{20};
  const char* text = std::getenv("CREEL_PINNED_THRESHOLD_MS");
  if (text == nullptr) return kDefault;
  int ms = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), ms);
  if (error == std::errc{} && *end == '\0' && ms >= 1 && ms <= 60'000) return std::chrono::milliseconds(ms);
  log::warn("virtual_threads.bad_environment",
            {{"CREEL_PINNED_THRESHOLD_MS", text}, {"allowed", "1 to 60000"}});
  return kDefault;
}

std::mutex handler_lock;
std::shared_ptr<const std::function<void(const PinnedThread&)>> handler;  // NOLINT: null until one is set

// The frame to look at: the innermost that belongs neither to the C library nor to the C++ one, nor to creel.
const StackFrame* place_of(const StackTrace& stack) {
  for (const StackFrame* frame : stack.frames()) {
    const bool is_system = frame->module.starts_with("libc.so") || frame->module.starts_with("libc-") ||
                           frame->module.starts_with("libpthread") ||
                           frame->module.starts_with("libstdc++") || frame->module.starts_with("ld-linux") ||
                           frame->module.starts_with("[vdso]") || frame->function.starts_with("std::") ||
                           frame->function.starts_with("__g") || frame->function.starts_with("creel::") ||
                           frame->function.starts_with("creel_") ||
                           frame->file.ends_with("/lock_support.cpp");
    if (!is_system) return frame;
  }
  return stack.empty() ? nullptr : stack.frames().front();
}

}  // namespace

PinningFigures pinning_figures() noexcept {
  const detail::RuntimeCounters& counters = detail::runtime_counters;
  PinningFigures figures;
  figures.started = counters.pins.load(kRelaxed);
  std::int64_t longest = counters.longest_pin_ns.load(kRelaxed);
  if (const detail::VirtualScheduler* scheduler = detail::VirtualScheduler::existing()) {
    const std::int64_t now_ns = detail::monotonic_ns();
    const auto pins = scheduler->pin_watch().pins();
    figures.pinned = pins.size();
    for (const detail::PinWatch::Pin& pin : pins) longest = std::max(longest, now_ns - pin.since_ns);
  }
  figures.longest = nanoseconds(longest);
  return figures;
}

PinnedScope::PinnedScope(const char* reason) noexcept
    : outer_(detail::current_record().own().pinned_by.exchange(reason != nullptr ? reason : "a PinnedScope",
                                                               kRelaxed)) {
  detail::ThreadRecord& self = detail::current_record();
  if (self.is_virtual) static_cast<detail::VirtualThread&>(self).pinned = true;
}

PinnedScope::~PinnedScope() {
  detail::ThreadRecord& self = detail::current_record();
  self.own().pinned_by.store(outer_, kRelaxed);
  if (self.is_virtual) static_cast<detail::VirtualThread&>(self).pinned = outer_ != nullptr;
}

bool PinnedScope::is_active() noexcept {
  return detail::current_record().own().pinned_by.load(kRelaxed) != nullptr;
}

void set_pinned_handler(std::function<void(const PinnedThread&)> new_handler) {
  auto shared = new_handler
                    ? std::make_shared<const std::function<void(const PinnedThread&)>>(std::move(new_handler))
                    : nullptr;
  const std::lock_guard guard{handler_lock};
  handler.swap(shared);
}

}  // namespace creel

namespace creel::detail {
namespace {

// The stack of a thread that waits together with its carrier, read without disturbing it: a signal would end
// some calls early (sleep, poll). A walk begins with the registers that a wait of creel's has published, or
// with the two that the kernel tells of a system call. Empty if the thread went on meanwhile.
StackTrace read_blocked_stack(const ThreadRecord& record, pid_t tid, const BlockedCall& call,
                              std::uint64_t switches) {
  const std::optional<WaitSnapshot> wait = read_wait(record.park_site);
  WalkRegisters registers;
  if (wait) {
    registers = to_walk(wait->registers);
  } else {
    registers.set(WalkRegisters::kRip, call.program_counter);
    registers.set(WalkRegisters::kRsp, call.stack_pointer);
  }
  std::vector<std::byte> bytes(ThreadSampler::kStackBytes);
  const std::uintptr_t low = registers.value[WalkRegisters::kRsp];
  const std::uintptr_t high = record.is_on_stack(low) ? record.stack_high.load(kRelaxed) : 0;
  const StackCopy stack = copy_blocked_stack(tid, low, high, switches, bytes);
  if (stack.size == 0) return {};
  DumpEngine& engine = DumpEngine::instance();
  const std::lock_guard guard{engine.lock};
  engine.refresh();
  std::vector<RawFrame> raw;
  const auto end = engine.unwinder.walk(
      registers, wait ? Unwinder::Innermost::ReturnAddress : Unwinder::Innermost::Interrupted, stack, raw);
  std::vector<const StackFrame*> frames;
  for (const RawFrame& each : raw) {
    for (const StackFrame& frame : engine.symbolizer.resolve(engine.unwinder.code(each.code)))
      frames.push_back(&frame);
  }
  return StackTrace(std::move(frames), end == Unwinder::End::Cut);
}

}  // namespace

PinWatch::PinWatch(VirtualScheduler& scheduler)
    : scheduler_(scheduler),
      threshold_(configured_threshold()),
      period_(std::max<nanoseconds>(threshold_ / 2, std::chrono::milliseconds(1))) {}

void PinWatch::start() noexcept {
  try {
    Thread::of_platform().name("virtual-thread-watch").daemon().start([this] { run(); });
  } catch (const std::exception& error) {  // virtual threads run without it
    log::error("virtual_threads.no_watch", {{"what", error.what()}});
  }
}

std::vector<PinWatch::Pin> PinWatch::pins() const {
  const std::lock_guard guard{lock_};
  return pins_;
}

void PinWatch::wake(ThreadRecord& sleeper) noexcept { LockSupport::unpark(sleeper); }

void PinWatch::run() {
  ThreadRecord& self = current_record();
  const Blocker blocker{this, "creel::VirtualScheduler", "watch"};
  nanoseconds pause{0};
  for (;;) {
    LockSupport::park(blocker, Deadline(std::max(period_, pause)));
    const std::int64_t begin_ns = monotonic_ns();
    const std::size_t count = scheduler_.counts().carriers;
    seen_.resize(std::max(seen_.size(), count));
    for (std::size_t i = 0; i < count; ++i) {
      if (const Carrier* carrier = scheduler_.carrier(i)) look(seen_[i], *carrier);
    }
    // With many that wait, to read of all of them takes milliseconds: never more than a part of a processor.
    // The cap: the first report looks symbols up, which takes long, and does not come again.
    pause = std::min<nanoseconds>(kLeastRest * nanoseconds(monotonic_ns() - begin_ns), kLongestRest);
    const bool has_pins =
        std::any_of(seen_.begin(), seen_.end(), [](const Seen& seen) { return seen.pinned; });
    if (has_pins || !scheduler_.is_idle()) continue;
    sleeper_.store(&self, std::memory_order_release);
    asymmetric_heavy_fence();  // see notice()
    if (scheduler_.is_idle()) LockSupport::park(blocker);
    sleeper_.store(nullptr, kRelaxed);
  }
}

void PinWatch::look(Seen& seen, const Carrier& carrier) {
  const std::int64_t now_ns = monotonic_ns();
  const std::uint32_t tick = carrier.tick.load(kRelaxed);
  const std::uint64_t thread = carrier.record->own().carrying.load(kRelaxed);
  if (thread == 0 || thread != seen.thread || tick != seen.tick) {
    if (seen.pinned) end(seen, now_ns);
    seen = {.thread = thread, .tick = tick};
    return;
  }
  // The same turn as last time. Who waits in blocking() has had a carrier stand in from the beginning.
  const std::shared_ptr<ThreadRecord> record = ThreadRegistry::instance().find(thread);
  const bool is_parked = record != nullptr && record->permit.load(kRelaxed) == ThreadRecord::kParkedPinned;
  if (record == nullptr ||
      (!is_parked && static_cast<const VirtualThread&>(*record).compensated.load(kRelaxed) != 0)) {
    if (seen.pinned) end(seen, now_ns);
    seen = {.thread = thread, .tick = tick};
    return;
  }
  // A wait that has lasted since then leaves the kernel's count of its waits as it was.
  const pid_t tid = carrier.record->os_tid.load(kRelaxed);
  const BlockedCall call = read_blocked_call(tid);
  const std::uint64_t switches = call.blocked ? read_switches(tid) : 0;
  if (switches == 0 || switches != seen.switches) {
    if (seen.pinned) end(seen, now_ns);
    seen = {.thread = thread, .tick = tick, .switches = switches, .since_ns = now_ns};
  } else if (!seen.pinned && now_ns - seen.since_ns >= threshold_.count()) {
    begin(seen, *record, carrier, call, now_ns);
  }
}

void PinWatch::begin(Seen& seen, const ThreadRecord& record, const Carrier& carrier, const BlockedCall& call,
                     std::int64_t now_ns) {
  std::string reason;
  const bool is_parked = record.permit.load(kRelaxed) == ThreadRecord::kParkedPinned;
  if (const RunningState* running = record.running.load(std::memory_order_acquire);
      is_parked && running != nullptr)
    reason = safe_read_text(running->pinned_by.load(kRelaxed));
  seen.pinned = true;
  if (!is_parked && stand_ins_ == kMostStandIns && !told_of_limit_) {
    told_of_limit_ = true;
    log::error("virtual_threads.no_more_stand_ins",
               {{"pinned", static_cast<std::int64_t>(kMostStandIns)},
                {"advice", "a std::mutex that is held over a wait? take creel::Monitor or ReentrantLock"}});
  }
  // park_pinned() has called a carrier itself.
  if (!is_parked && stand_ins_ < kMostStandIns) {
    try {
      scheduler_.carrier_blocks();
      seen.stands_in = true;
      ++stand_ins_;
    } catch (const std::exception& error) {
      log::error("virtual_thread.no_stand_in", {{"carrier", carrier.record->name()}, {"what", error.what()}});
    }
  }
  runtime_counters.pins.fetch_add(1, kRelaxed);
  {
    const std::lock_guard guard{lock_};
    pins_.push_back({seen.thread, seen.since_ns, reason});
  }
  tell({.id = seen.thread,
        .name = record.name(),
        .carrier = carrier.record->name(),
        .so_far = nanoseconds(now_ns - seen.since_ns),
        .reason = std::move(reason),
        .stack = read_blocked_stack(record, carrier.record->os_tid.load(kRelaxed), call, seen.switches)});
}

void PinWatch::end(Seen& seen, std::int64_t now_ns) noexcept {
  if (seen.stands_in) {
    scheduler_.carrier_unblocks();
    --stand_ins_;
  }
  // Nobody else writes it.
  if (now_ns - seen.since_ns > runtime_counters.longest_pin_ns.load(kRelaxed))
    runtime_counters.longest_pin_ns.store(now_ns - seen.since_ns, kRelaxed);
  const std::lock_guard guard{lock_};
  std::erase_if(pins_, [&](const Pin& pin) { return pin.thread == seen.thread; });
}

void PinWatch::tell(const PinnedThread& pinned) {
  static const Trace trace = configured_trace();
  if (trace != Trace::Off && told_.size() < kMostPlaces && told_.insert(pinned.stack.frames()).second) {
    const StackFrame* place = place_of(pinned.stack);
    log::warn(
        "virtual_thread.pinned",
        {{"virtual_thread", "\"" + pinned.name + "\" #" + std::to_string(pinned.id)},
         {"carrier", pinned.carrier},
         {"ms", std::chrono::duration_cast<std::chrono::milliseconds>(pinned.so_far).count()},
         {"at", place != nullptr ? place->text : "unknown"},
         {"by", pinned.reason.empty() ? "foreign wait" : pinned.reason},
         {"advice", pinned.reason.empty() ? "put the call into creel::blocking()" : "wait outside the scope"},
         {"stack", trace == Trace::Full ? "\n" + pinned.stack.to_string() : "CREEL_TRACE_PINNED=full"}});
  }
  std::shared_ptr<const std::function<void(const PinnedThread&)>> called;
  {
    const std::lock_guard guard{handler_lock};
    called = handler;
  }
  if (called == nullptr) return;
  try {
    (*called)(pinned);
  } catch (const std::exception& error) {
    log::error("virtual_thread.pinned_handler", {{"what", error.what()}});
  } catch (...) {
    log::error("virtual_thread.pinned_handler", {{"what", "unknown exception"}});
  }
}

}  // namespace creel::detail
