#include "thread_sampler.hpp"

#include "foreign_threads.hpp"
#include "thread_record.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>

namespace creel::detail {
namespace {

using namespace std::chrono_literals;

// After this long without an answer, look whether the thread can answer at all.
constexpr std::chrono::nanoseconds kPatience = 20ms;
// A thread that can, but gets no processor, is waited for this long.
constexpr std::chrono::nanoseconds kLongestWait = 500ms;
// Between the thread pointer and the stack below it lie static thread-locals only, if glibc made the stack.
constexpr std::uintptr_t kLargestStack = 256U << 20;

constexpr const char* kNoProcessor = "got no processor time";

// The phases of a slot are the two low bits of its word; the others are the ticket, so that a signal that
// comes late does not answer a newer request.
constexpr std::uint32_t kFree = 0, kRequested = 1, kClaimed = 2, kDone = 3, kPhase = 3;

struct Slot {
  std::atomic<std::uint32_t> word{kFree};
  std::uint64_t record_id = 0;
  WalkRegisters registers;
  std::uintptr_t low = 0;
  std::size_t size = 0;
  bool capped = false;
  std::int64_t stopped_ns = 0;
  bool touched = false;   // the pages of most stacks' copies are there
  bool given_up = false;  // nobody waits for the answer any more, but its thread may still be writing it
  alignas(16) std::array<std::byte, ThreadSampler::kStackBytes> stack;
};

// Static: a signal handler that is late must find its slot whatever happened since.
std::array<Slot, ThreadSampler::kInFlight> slots;  // NOLINT: zero pages until used
struct sigaction replaced;                         // NOLINT: what install() found

std::int64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value,
           const timespec* timeout) noexcept {
  return ::syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}

// Where the stack that rsp is on may end; reading further is harmless, only wasteful.
std::uintptr_t stack_end(std::uintptr_t rsp, const ThreadRecord* record) noexcept {
  if (record != nullptr && rsp >= record->stack_low && rsp < record->stack_high) return record->stack_high;
  const auto thread_pointer = reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
  if (thread_pointer > rsp && thread_pointer - rsp < kLargestStack) return thread_pointer;
  return rsp + ThreadSampler::kStackBytes;
}

void fill(Slot& slot, const ucontext_t& context) noexcept {
  const ThreadRecord* record = current_record_or_null();
  slot.record_id = record != nullptr ? record->id.load(std::memory_order_relaxed) : 0;
  slot.registers = interrupted_registers(context);
  slot.low = slot.registers.value[WalkRegisters::kRsp];
  const std::size_t live = stack_end(slot.low, record) - slot.low;
  const std::size_t wanted = std::min(live, ThreadSampler::kStackBytes);
  slot.capped = live > wanted;
  // By the kernel, not memcpy: a wrong guess of the end then gives a short copy instead of a fault.
  const iovec to{slot.stack.data(), wanted};
  const iovec from{reinterpret_cast<void*>(slot.low), wanted};
  const long copied = ::syscall(SYS_process_vm_readv, ::getpid(), &to, 1, &from, 1, 0);
  slot.size = copied > 0 ? static_cast<std::size_t>(copied) : 0;
}

void on_signal(int, siginfo_t* info, void* context) {
  const int error_number = errno;
  const std::int64_t begin = monotonic_ns();
  const auto value = reinterpret_cast<std::uintptr_t>(info->si_value.sival_ptr);
  const std::size_t index = value & 0xFF;
  if (info->si_code == SI_QUEUE && info->si_pid == ::getpid() && index < slots.size()) {
    Slot& slot = slots[index];
    std::uint32_t requested = static_cast<std::uint32_t>(value >> 8);
    const std::uint32_t ticket = requested & ~kPhase;
    if (slot.word.compare_exchange_strong(requested, ticket | kClaimed, std::memory_order_acquire)) {
      fill(slot, *static_cast<const ucontext_t*>(context));
      slot.stopped_ns = monotonic_ns() - begin;
      slot.word.store(ticket | kDone, std::memory_order_release);  // publishes the copy to await()
      futex(slot.word, FUTEX_WAKE, 1, nullptr);
    }
  }
  errno = error_number;
}

std::string_view status_field(std::string_view status, std::string_view key) {
  const std::size_t at = status.find(key);
  if (at == std::string_view::npos) return {};
  const std::size_t begin = status.find_first_not_of(" \t", at + key.size());
  return begin == std::string_view::npos ? std::string_view{}
                                         : status.substr(begin, status.find('\n', begin) - begin);
}

Slot* free_slot() noexcept {
  const auto usable = [](const Slot& slot) {
    const std::uint32_t phase = slot.word.load(std::memory_order_acquire) & kPhase;
    return phase == kFree || (phase == kDone && slot.given_up);
  };
  const auto found = std::find_if(slots.begin(), slots.end(), usable);
  return found != slots.end() ? &*found : nullptr;
}

bool is_free(int signal) noexcept {
  struct sigaction action {};
  return ::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_DFL;
}

}  // namespace

WalkRegisters interrupted_registers(const ucontext_t& context) noexcept {
  WalkRegisters registers;
  constexpr std::array<int, WalkRegisters::kCount> kPlaces{
      REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8,
      REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (unsigned i = 0; i < WalkRegisters::kCount; ++i) {
    registers.set(i, static_cast<std::uint64_t>(context.uc_mcontext.gregs[kPlaces[i]]));
  }
  return registers;
}

struct ThreadSampler::Request {
  std::size_t index;
  pid_t tid;
  Slot* slot;
  std::uint32_t ticket = 0;
  std::int64_t sent_ns = 0;
};

void ThreadSampler::install(int signal) {
  if (signal == 0) {
    for (signal = SIGRTMAX - 2; signal > SIGRTMIN && !is_free(signal);) --signal;
    if (signal <= SIGRTMIN)
      throw Error("no real-time signal is free for stack samples; free one of SIGRTMIN+1..SIGRTMAX-2");
  }
  struct sigaction action {};
  action.sa_sigaction = &on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  ::sigfillset(&action.sa_mask);  // no other handler may lengthen the stop
  if (::sigaction(signal, &action, &replaced) != 0) {
    throw IoError("install the stack sampling handler", "signal " + std::to_string(signal), errno);
  }
  signal_ = signal;
}

void ThreadSampler::uninstall() noexcept {
  if (signal_ == 0) return;
  // Ignoring a signal throws away what is still pending for threads that block it; under the default action
  // it would end the process when they unblock.
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(signal_, &ignore, nullptr);
  ::sigaction(signal_, &replaced, nullptr);
  signal_ = 0;
  unanswered_.clear();
}

bool ThreadSampler::blocks_signal(pid_t tid, std::string& why) const {
  const std::string status = read_task_file(tid, "status");
  const std::string_view blocked = status_field(status, "\nSigBlk:");
  const std::string_view state = status_field(status, "\nState:");
  const std::uint64_t mask = blocked.empty() ? 0 : std::strtoull(std::string(blocked).c_str(), nullptr, 16);
  if ((mask >> (signal_ - 1) & 1U) != 0) {
    why = "blocks signals";
  } else if (state.starts_with('D')) {
    why = "in an uninterruptible system call";
  } else if (state.starts_with('T') || state.starts_with('t')) {
    why = "stopped";
  }
  return !why.empty();
}

bool ThreadSampler::send(Request& request) {
  Slot* slot = request.slot;
  if (!slot->touched) {  // here, so that the handler takes no page faults while its thread stands still
    constexpr std::size_t kUsual = 64 * 1024, kPage = 4096;
    for (std::size_t at = 0; at < kUsual; at += kPage)
      *const_cast<volatile std::byte*>(&slot->stack[at]) = std::byte{0};
    slot->touched = true;
  }
  slot->given_up = false;
  ticket_ += kPhase + 1;
  request.ticket = ticket_;
  request.sent_ns = monotonic_ns();
  slot->word.store(ticket_ | kRequested, std::memory_order_release);
  siginfo_t info{};
  info.si_code = SI_QUEUE;
  info.si_pid = ::getpid();
  info.si_uid = ::getuid();
  const auto index = static_cast<std::uintptr_t>(slot - slots.data());
  info.si_value.sival_ptr = reinterpret_cast<void*>(std::uintptr_t{ticket_ | kRequested} << 8 | index);
  if (::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), request.tid, signal_, &info) != 0) {
    slot->word.store(kFree, std::memory_order_relaxed);  // the thread has ended
    return false;
  }
  return true;
}

bool ThreadSampler::await(Request& request, std::string& why) {
  std::atomic<std::uint32_t>& word = request.slot->word;
  bool can_answer = false;
  for (;;) {
    const std::uint32_t seen = word.load(std::memory_order_acquire);
    if (seen == (request.ticket | kDone)) return true;
    const std::chrono::nanoseconds waited(monotonic_ns() - request.sent_ns);
    std::chrono::nanoseconds left = (can_answer ? kLongestWait : kPatience) - waited;
    if (left <= 0ns) {
      if (!can_answer && !blocks_signal(request.tid, why)) {
        can_answer = true;
        continue;
      }
      std::uint32_t requested = request.ticket | kRequested;
      if (word.compare_exchange_strong(requested, kFree)) {
        unanswered_.insert(request.tid);
        if (why.empty()) why = kNoProcessor;
        return false;
      }
      if (waited > 2 * kLongestWait) {  // interrupted within the handler: the slot comes back when it goes on
        why = kNoProcessor;
        request.slot->given_up = true;
        return false;
      }
      left = 1ms;
    }
    const timespec timeout{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    futex(word, FUTEX_WAIT, seen, &timeout);
  }
}

void ThreadSampler::sample(std::span<const pid_t> tids,
                           const std::function<void(std::size_t, const ThreadSample&)>& taken,
                           const std::function<void(std::size_t, std::string)>& missed) {
  std::deque<Request> in_flight;
  const auto finish = [&](Request& request) {
    std::string why;
    if (!await(request, why)) {
      if (::syscall(SYS_tgkill, ::getpid(), request.tid, 0) == 0) missed(request.index, std::move(why));
      return;
    }
    unanswered_.erase(request.tid);
    Slot& slot = *request.slot;
    ThreadSample sample;
    sample.record_id = slot.record_id;
    sample.registers = slot.registers;
    sample.stack = {slot.low, slot.stack.data(), slot.size};
    sample.capped = slot.capped;
    sample.stopped = std::chrono::nanoseconds(slot.stopped_ns);
    taken(request.index, sample);
    slot.word.store(kFree, std::memory_order_relaxed);
  };
  for (std::size_t i = 0; i < tids.size(); ++i) {
    std::string why;
    if (unanswered_.count(tids[i]) != 0 && blocks_signal(tids[i], why)) {
      missed(i, std::move(why));
      continue;
    }
    Slot* slot = free_slot();
    for (; slot == nullptr && !in_flight.empty(); slot = free_slot()) {
      finish(in_flight.front());
      in_flight.pop_front();
    }
    if (slot == nullptr) {
      missed(i, kNoProcessor);
      continue;
    }
    Request request{i, tids[i], slot};
    if (send(request)) in_flight.push_back(request);
  }
  for (Request& request : in_flight) finish(request);
}

}  // namespace creel::detail
