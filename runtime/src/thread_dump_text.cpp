#include "thread_dump_scopes.hpp"

#include <creel/runtime/thread_dump.hpp>

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <map>
#include <string_view>

// The layout is HotSpot's, to the blank: jstack and jcmd pass it through, and analysers of Java dumps parse
// it.

namespace creel {
namespace {

struct StateWords {
  std::string_view header;  // at the end of the name's line
  std::string_view state;   // after java.lang.Thread.State
  std::string_view lock;    // before the object waited for; empty: none is shown
};

StateWords words_of(const ThreadInfo& thread) noexcept {
  if (!thread.wait) {
    switch (thread.state) {
      case ThreadState::New:
        return {"runnable", "NEW", ""};
      case ThreadState::Terminated:
        return {"runnable", "TERMINATED", ""};
      default:
        return {"runnable", "RUNNABLE", ""};
    }
  }
  const bool timed = thread.wait->timed;
  switch (thread.wait->kind) {
    case WaitKind::MonitorEnter:
      return {"waiting for monitor entry", "BLOCKED (on object monitor)", "waiting to lock"};
    case WaitKind::MonitorWait:
    case WaitKind::Joining:
      return {"in Object.wait()", timed ? "TIMED_WAITING (on object monitor)" : "WAITING (on object monitor)",
              "waiting on"};
    case WaitKind::Sleeping:
      return {"waiting on condition", "TIMED_WAITING (sleeping)", ""};
    case WaitKind::External:
      return {"waiting on condition",
              timed ? "TIMED_WAITING (in blocking call)" : "WAITING (in blocking call)", "blocked in"};
    case WaitKind::Parking:
      break;
  }
  return {"waiting on condition", timed ? "TIMED_WAITING (parking)" : "WAITING (parking)",
          "parking to wait for "};
}

class TextDump {
 public:
  TextDump(const ThreadDump& dump, const ThreadDump::TextOptions& options) : dump_(dump), options_(options) {}

  std::string write() {
    out_.reserve(4096 + dump_.threads().size() * 1600);
    write_header();
    write_thread_list();
    write_threads();
    detail::append_task_scopes(dump_, out_);
    add("JNI global refs: 0, weak refs: 0\n\n");
    write_deadlocks();
    return std::move(out_);
  }

 private:
  void add(std::string_view text) { out_ += text; }
  template <typename Integer>
  void add_number(Integer value, int base = 10) {
    std::array<char, 24> text;
    out_.append(text.data(), std::to_chars(text.data(), text.data() + text.size(), value, base).ptr);
  }
  void add_fixed(double value) {
    std::array<char, 40> text;
    out_.append(
        text.data(),
        std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, 2).ptr);
  }
  void add_address(std::uintptr_t address) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::array<char, 18> text{'0', 'x'};
    for (std::size_t i = 17; i >= 2; --i, address >>= 4) text[i] = kDigits[address & 15];
    out_.append(text.data(), text.size());
  }

  void write_header() {
    const std::time_t seconds = std::chrono::system_clock::to_time_t(dump_.time());
    std::tm local{};
    ::localtime_r(&seconds, &local);
    std::array<char, 32> text{};
    out_.append(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S\n", &local));
    add("Full thread dump creel 64-Bit Server VM (" CREEL_VERSION " mixed mode, sharing):\n\n");
  }

  // The JVM lists the addresses of its Java threads: some readers count them.
  void write_thread_list() {
    std::vector<std::uintptr_t> addresses;
    for (const ThreadInfo& thread : dump_.threads()) {
      if (!thread.is_virtual && !thread.foreign) addresses.push_back(thread.address);
    }
    add("Threads class SMR info:\n_java_thread_list=");
    add_address(reinterpret_cast<std::uintptr_t>(&dump_));
    add(", length=");
    add_number(addresses.size());
    add(", elements={\n");
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      add_address(addresses[i]);
      if (i + 1 < addresses.size()) add(i % 4 == 3 ? ",\n" : ", ");
    }
    add(addresses.empty() ? "}\n\n" : "\n}\n\n");
  }

  void write_threads() {
    std::size_t virtual_threads = 0;
    std::map<std::vector<const StackFrame*>, std::vector<const ThreadInfo*>> rest;
    for (const ThreadInfo& thread : dump_.threads()) {
      if (thread.is_virtual && ++virtual_threads > options_.virtual_threads) {
        rest[thread.stack].push_back(&thread);
      } else {
        write_thread(thread);
      }
    }
    for (const auto& [stack, threads] : rest) {
      if (threads.size() == 1) {
        write_thread(*threads.front());
      } else {
        write_group(threads);
      }
    }
  }

  void write_group(const std::vector<const ThreadInfo*>& threads) {
    const ThreadInfo& first = *threads.front();
    add("\"");
    add(first.name);
    add("\" #");
    add_number(first.id);
    add(" virtual and ");
    add_number(threads.size() - 1);
    add(" more virtual threads with this stack\n   java.lang.Thread.State: ");
    add(words_of(first).state);
    add("\n");
    write_stack(first);
    add("\n");
  }

  void write_thread(const ThreadInfo& thread) {
    const StateWords words = words_of(thread);
    write_name_line(thread, words);
    add("   java.lang.Thread.State: ");
    add(words.state);
    add("\n");
    if (thread.carrying != 0) {
      add("   Carrying virtual thread #");
      add_number(thread.carrying);
      add("\n");
    }
    if (thread.pinned_s >= 0) {
      add("   Pinned to carrier #");
      add_number(thread.carrier);
      add(" for ");
      add_fixed(thread.pinned_s);
      add("s by ");
      add(thread.pinned_by.empty() ? "a foreign wait" : thread.pinned_by);
      add("\n");
    }
    if (!thread.activity.empty()) {
      add("   ");
      add(thread.activity);
      add("\n");
    }
    for (const ScopedValueInfo& each : thread.scoped_values) {
      add("   - scoped value ");
      add(each.name);
      add(" = ");
      add(each.value);
      add("\n");
    }
    if (options_.extended && thread.stack_figures) write_stack_figures(*thread.stack_figures);
    write_stack(thread);
    add("\n");
    if (options_.locks) write_synchronizers(thread);
  }

  void write_name_line(const ThreadInfo& thread, const StateWords& words) {
    add("\"");
    add(thread.name);
    add("\" #");
    add_number(thread.id);
    if (thread.is_virtual) add(" virtual");
    if (thread.daemon) add(" daemon");
    add(" prio=");
    add_number(thread.priority);
    add(" os_prio=");
    add_number(thread.nice);
    if (thread.cpu_ms >= 0) {
      add(" cpu=");
      add_fixed(thread.cpu_ms);
      add("ms");
    }
    add(" elapsed=");
    add_fixed(thread.elapsed_s);
    add("s");
    if (options_.extended) {
      add(" blocked=");
      add_number(thread.blocked_count);
      add(" blocked_time=");
      add_fixed(thread.blocked_ms);
      add("ms waited=");
      add_number(thread.waited_count);
      if (thread.program_counter != 0) {
        add(" pc=");
        add_address(thread.program_counter);
      }
    }
    add(" tid=");
    add_address(thread.address);
    add(" nid=0x");
    add_number(static_cast<unsigned>(thread.os_tid), 16);
    add(" ");
    add(words.header);
    add("  [");
    add_address(thread.stack_pointer & ~std::uintptr_t{4095});
    add("]\n");
  }

  void write_stack_figures(const StackFigures& figures) {
    const auto add_size = [this](std::string_view before, std::size_t bytes) {
      add(before);
      add_number(bytes / 1024);
      add(" KiB");
    };
    add_size("   Stack: ", figures.reserved);
    add_size(" reserved, ", figures.committed);
    add_size(" committed, high-water mark ", figures.high_water);
    add_size(", guard ", figures.guard);
    add("\n");
  }

  void write_stack(const ThreadInfo& thread) {
    if (!thread.stack_missing.empty()) {
      add("\t(not sampled: ");
      add(thread.stack_missing);
      add(")\n");
    }
    if (thread.stack.empty() && thread.wait) write_wait(thread);
    for (std::size_t i = 0; i < thread.stack.size(); ++i) {
      add("\tat ");
      add(thread.stack[i]->text);
      add("\n");
      if (i == 0 && thread.wait) write_wait(thread);
      write_held(thread, static_cast<int>(i));
    }
    write_held(thread, -1);
    if (thread.stack_cut) add("\t...\n");
  }

  void write_object(const LockInfo& lock) {
    add("<");
    add_address(lock.address);
    add("> (a ");
    add(lock.type.empty() ? std::string_view("creel::LockSupport") : lock.type);
    if (!lock.name.empty()) {
      add(" \"");
      add(lock.name);
      add("\"");
    }
    add(")\n");
  }

  void write_wait(const ThreadInfo& thread) {
    const StateWords words = words_of(thread);
    const WaitInfo& wait = *thread.wait;
    if (words.lock.empty() || (wait.on.address == 0 && wait.on.type.empty())) return;
    add("\t- ");
    add(words.lock);
    add(" ");
    if (wait.on.address == 0) {  // a call of blocking()
      add("call \"");
      add(wait.on.name);
      add("\"\n");
      return;
    }
    write_object(wait.on);
    if (wait.on.owner == 0 || wait.kind == WaitKind::Joining) return;
    add("\t  held by \"");
    add(wait.on.owner_name);
    add("\" #");
    add_number(wait.on.owner);
    if (wait.on.owner_pid != 0) {
      add(" of process ");
      add_number(static_cast<std::uint64_t>(wait.on.owner_pid));
    }
    add("\n");
  }

  void write_held(const ThreadInfo& thread, int depth) {
    for (std::size_t i = thread.held.size(); i-- > 0;) {
      const HeldLockInfo& held = thread.held[i];
      if (held.depth != depth || !held.monitor) continue;  // the others stand under "ownable synchronizers"
      add("\t- locked ");
      write_object(held.lock);
    }
  }

  void write_synchronizers(const ThreadInfo& thread) {
    add("   Locked ownable synchronizers:\n");
    bool any = false;
    for (const HeldLockInfo& held : thread.held) {
      if (held.monitor) continue;
      any = true;
      add("\t- ");
      write_object(held.lock);
    }
    if (!any) add("\t- None\n");
    if (thread.held_more > 0) {
      add("\t- and ");
      add_number(thread.held_more);
      add(" more locks\n");
    }
    add("\n");
  }

  void write_deadlocks() {
    for (const Deadlock& deadlock : dump_.deadlocks()) {
      add("\nFound one Java-level deadlock:\n=============================\n");
      add(to_string(deadlock));
      add("Java stack information for the threads listed above:\n");
      add("===================================================\n");
      for (const DeadlockedThread& each : deadlock.threads) {
        add("\"");
        add(each.name);
        add("\":\n");
        if (const ThreadInfo* thread = dump_.find(each.id)) write_stack(*thread);
      }
    }
    if (dump_.deadlocks().empty()) return;
    add("\nFound ");
    add_number(dump_.deadlocks().size());
    add(dump_.deadlocks().size() == 1 ? " deadlock.\n\n" : " deadlocks.\n\n");
  }

  const ThreadDump& dump_;
  const ThreadDump::TextOptions& options_;
  std::string out_;
};

}  // namespace

std::string ThreadDump::to_text(const TextOptions& options) const { return TextDump(*this, options).write(); }

}  // namespace creel
