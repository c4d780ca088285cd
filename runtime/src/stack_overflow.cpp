#include "stack_overflow.hpp"

#include "dump_engine.hpp"
#include "thread_record.hpp"
#include "thread_sampler.hpp"
#include "write_fully.hpp"

#include <linux/futex.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>
#include <vector>

namespace creel::detail {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr std::size_t kShownFrames = 40;
// A frame larger than the guard page may jump over it, and rsp may already be below what was touched.
constexpr std::uintptr_t kReach = 64 * 1024;
// The kernel does not let the main thread's stack grow up to its limit: it keeps a gap to the mapping below.
constexpr std::uintptr_t kMainGap = 1024 * 1024;
constexpr time_t kPatienceSeconds = 10;

enum Phase : std::uint32_t { kIdle, kClaimed, kAsked, kDone };

// What the thread that overflowed says of itself. One at a time: the process ends with it.
struct Overflow {
  std::atomic<std::uint32_t> phase{kIdle};
  ThreadRecord* record = nullptr;
  pid_t tid = 0;
  std::uintptr_t low = 0, high = 0;
  const ucontext_t* context = nullptr;
};

Overflow overflow;                         // NOLINT: a handler finds it
std::atomic<int> asked_fd{-1};             // NOLINT
std::array<struct sigaction, 2> replaced;  // NOLINT: of SIGSEGV and SIGBUS

struct sigaction& replaced_of(int signal) noexcept {
  return replaced[signal == SIGSEGV ? 0 : 1];
}

std::uintptr_t stack_pointer(const ucontext_t& context) noexcept {
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
}

bool is_overflow(const ThreadRecord& record, std::uintptr_t fault, std::uintptr_t rsp) noexcept {
  const std::uintptr_t low = record.stack_low.load(std::memory_order_relaxed);
  const std::uintptr_t high = record.stack_high.load(std::memory_order_relaxed);
  if (low == 0 || fault >= high || rsp >= high) return false;
  const bool main = record.os_tid.load(std::memory_order_relaxed) == ::getpid() && !record.is_virtual;
  // glibc counts the guard of a thread that it made into the stack in some versions and not in others.
  const std::uintptr_t top = low + (main ? kMainGap : 4096);
  return fault + kReach >= low && fault < top && rsp < top + kReach && rsp + kReach >= low;
}

// By itself, in a signal handler: no allocation, no lock.
void write_bare_report(const Overflow& of) noexcept {
  std::array<char, 160> text;
  char* at = text.data();
  const auto add = [&](const char* words) {
    const std::size_t size = std::strlen(words);
    std::memcpy(at, words, size);
    at += size;
  };
  const auto add_number = [&](std::uint64_t value) {
    std::array<char, 24> digits;
    std::size_t count = 0;
    do {
      digits[count++] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value > 0);
    while (count > 0) *at++ = digits[--count];
  };
  add("creel: stack overflow in thread #");
  add_number(of.record->id.load(std::memory_order_relaxed));
  add(" (tid ");
  add_number(static_cast<std::uint64_t>(of.tid));
  add("), whose stack has ");
  add_number((of.high - of.low) / 1024);
  add(" KiB; its frames could not be read\n");
  write_fully(STDERR_FILENO, {text.data(), static_cast<std::size_t>(at - text.data())});
}

void futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value,
           const timespec* timeout) noexcept {
  ::syscall(SYS_futex, &word, operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}

// Stands still until the report is written.
void ask_for_report(ThreadRecord& record, const ucontext_t& context) noexcept {
  std::uint32_t idle = kIdle;
  const bool first = overflow.phase.compare_exchange_strong(idle, kClaimed);
  if (first) {
    overflow.record = &record;
    overflow.tid = ::gettid();
    overflow.low = record.stack_low.load(std::memory_order_relaxed);
    overflow.high = record.stack_high.load(std::memory_order_relaxed);
    overflow.context = &context;
    overflow.phase.store(kAsked);
    ::eventfd_write(asked_fd.load(std::memory_order_relaxed), 1);
  }
  for (int tenths = 0; tenths < kPatienceSeconds * 10 && overflow.phase.load() != kDone; ++tenths) {
    const timespec tenth{0, 100'000'000};
    futex(overflow.phase, FUTEX_WAIT, kAsked, &tenth);
  }
  if (first && overflow.phase.load() != kDone) write_bare_report(overflow);
}

void pass_on(int signal, siginfo_t* info, void* context) noexcept {
  const struct sigaction& before = replaced_of(signal);
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    // The instruction faults again when we return, and the process ends by it with its registers as they
    // were.
    struct sigaction fatal {};
    fatal.sa_handler = SIG_DFL;
    ::sigaction(signal, &fatal, nullptr);
  }
}

void on_fault(int signal, siginfo_t* info, void* context) {
  const int error_number = errno;
  const auto& registers = *static_cast<const ucontext_t*>(context);
  ThreadRecord* const record = current_record_or_null();
  const bool by_hardware = info->si_code > 0;
  if (record != nullptr && by_hardware &&
      is_overflow(*record, reinterpret_cast<std::uintptr_t>(info->si_addr), stack_pointer(registers))) {
    ask_for_report(*record, registers);
  }
  errno = error_number;
  pass_on(signal, info, context);
}

// The part of the stack that is there: below it lies the guard, into which rsp may point.
StackCopy readable_stack(const Overflow& of) noexcept {
  constexpr std::uintptr_t kPage = 4096;
  std::uintptr_t low = std::max(stack_pointer(*of.context), of.low);
  std::byte probe{};
  while (low < of.high && !safe_read(reinterpret_cast<const void*>(low), &probe, 1))
    low = (low / kPage + 1) * kPage;
  return {low, reinterpret_cast<const std::byte*>(low), of.high - low};
}

std::string frames_of(const Overflow& of) {
  DumpEngine& engine = DumpEngine::instance();
  const std::lock_guard guard{engine.lock};
  engine.refresh();
  std::vector<RawFrame> raw;
  engine.unwinder.walk(interrupted_registers(*of.context), Unwinder::Innermost::Interrupted,
                       readable_stack(of), raw);
  std::string text;
  std::size_t shown = 0;
  for (std::size_t i = 0; i < raw.size() && shown < kShownFrames; ++i) {
    for (const StackFrame& frame : engine.symbolizer.resolve(engine.unwinder.code(raw[i].code))) {
      text.append("\tat ").append(frame.text).append("\n");
      ++shown;
    }
  }
  if (raw.size() > kShownFrames)
    text += "\t... and at least " + std::to_string(raw.size() - kShownFrames) + " more\n";
  return text;
}

}  // namespace

AlternateStack::AlternateStack() noexcept {
  stack_t there{};
  if (kSanitized || ::sigaltstack(nullptr, &there) != 0 || (there.ss_flags & SS_DISABLE) == 0) return;
  // AVX-512 alone makes a signal frame of nearly 4 KiB; the sampler's handler uses the stack too.
  const long minimum = ::sysconf(_SC_MINSIGSTKSZ);
  const std::size_t size = 16 * 1024 + static_cast<std::size_t>(std::max(minimum, 0L)) / 4096 * 4096;
  void* const memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;  // an overflow then ends the process without a word, as it does elsewhere
  const stack_t ours{.ss_sp = memory, .ss_flags = 0, .ss_size = size};
  if (::sigaltstack(&ours, nullptr) != 0) {
    ::munmap(memory, size);
    return;
  }
  memory_ = memory;
  size_ = size;
}

AlternateStack::~AlternateStack() {
  if (memory_ == nullptr) return;
  stack_t there{};
  ::sigaltstack(nullptr, &there);
  if (there.ss_sp == memory_) {
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    ::sigaltstack(&none, nullptr);
  }
  ::munmap(memory_, size_);
}

void install_overflow_handler(int report_fd) noexcept {
  if (kSanitized) return;
  asked_fd.store(report_fd);
  struct sigaction action {};
  action.sa_sigaction = &on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal : {SIGSEGV, SIGBUS}) ::sigaction(signal, &action, &replaced_of(signal));
}

void uninstall_overflow_handler() noexcept {
  if (asked_fd.exchange(-1) < 0) return;
  for (const int signal : {SIGSEGV, SIGBUS}) {
    struct sigaction now {};
    ::sigaction(signal, nullptr, &now);
    if (now.sa_sigaction == &on_fault) ::sigaction(signal, &replaced_of(signal), nullptr);
  }
}

void report_overflow() noexcept {
  if (overflow.phase.load() != kAsked) return;
  try {
    const ThreadRecord& record = *overflow.record;
    std::string text = "creel: stack overflow in ";
    text += record.is_virtual ? "virtual thread \"" : "thread \"";
    text += record.name() + "\" #" + std::to_string(record.id.load(std::memory_order_relaxed)) + " (tid " +
            std::to_string(overflow.tid) + "), whose stack has " +
            std::to_string((overflow.high - overflow.low) / 1024) + " KiB";
    text += record.os_tid.load(std::memory_order_relaxed) == ::getpid() && !record.is_virtual
                ? "; `ulimit -s` sets it\n"
                : "; Thread::Builder::stack_size sets it\n";
    write_fully(STDERR_FILENO, text);
    text = frames_of(overflow);
    write_fully(STDERR_FILENO, text);
  } catch (const std::exception&) {
    return;  // the handler says the rest
  }
  overflow.phase.store(kDone);
  futex(overflow.phase, FUTEX_WAKE, 1 << 30, nullptr);
}

}  // namespace creel::detail
