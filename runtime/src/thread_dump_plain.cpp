#include "thread_dump_names.hpp"

#include <creel/runtime/thread_dump.hpp>

#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>

namespace creel {
namespace detail {

std::string instant_text(std::chrono::system_clock::time_point time) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(ns / 1'000'000'000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  std::array<char, 48> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text.data() + size, text.size() - size, ".%09dZ", static_cast<int>(ns % 1'000'000'000));
  return text.data();
}

std::string object_text(const LockInfo& lock) {
  std::array<char, 20> hash{};
  const auto end = std::to_chars(hash.data(), hash.data() + hash.size(), lock.address, 16).ptr;
  return std::string(lock.type.empty() ? std::string_view("creel::LockSupport") : lock.type) + "@" +
         std::string(hash.data(), end);
}

}  // namespace detail

namespace {

// As the JDK's, and the name if it has one.
std::string lock_text(const LockInfo& lock) {
  return "<" + detail::object_text(lock) + ">" + (lock.name.empty() ? "" : " \"" + lock.name + "\"");
}

// What stands under the frame in which the thread waits; nothing for a sleeping one.
std::string wait_line(const WaitInfo& wait) {
  if (wait.kind == WaitKind::External && wait.on.address == 0) {
    return "    - blocked in call \"" + wait.on.name + "\"\n";
  }
  if (wait.on.address == 0) return {};
  const std::string object =
      lock_text(wait.on) + (wait.on.owner != 0 ? ", owner #" + std::to_string(wait.on.owner) : "") +
      (wait.on.owner_pid != 0 ? " of process " + std::to_string(wait.on.owner_pid) : "") + "\n";
  switch (wait.kind) {
    case WaitKind::MonitorEnter:
      return "    - waiting to lock " + object;
    case WaitKind::MonitorWait:
    case WaitKind::Joining:
      return "    - waiting on " + object;
    case WaitKind::Parking:
      return "    - parking to wait for " + object;
    case WaitKind::External:
      return "    - blocked in " + object;
    case WaitKind::Sleeping:
      break;
  }
  return {};
}

void add_held(std::string& out, const ThreadInfo& thread, int depth) {
  for (const HeldLockInfo& held : thread.held) {
    if (held.monitor && held.depth == depth) out += "    - locked " + lock_text(held.lock) + "\n";
  }
}

void add_thread(std::string& out, const ThreadInfo& thread, const std::string& time) {
  out.append("#").append(std::to_string(thread.id)).append(" \"").append(thread.name).append("\" ");
  if (thread.is_virtual) out += "virtual ";
  out.append(to_string(thread.state)).append(" ").append(time).append("\n");
  const std::string wait = thread.wait ? wait_line(*thread.wait) : std::string();
  if (thread.stack.empty()) out += wait;
  for (std::size_t i = 0; i < thread.stack.size(); ++i) {
    out.append("    at ").append(thread.stack[i]->text).append("\n");
    if (i == 0) out += wait;
    add_held(out, thread, static_cast<int>(i));
  }
  add_held(out, thread, -1);
  out += "\n";
}

}  // namespace

std::string ThreadDump::to_plain() const {
  const std::string time = detail::instant_text(time_);
  std::string out = std::to_string(pid_) + "\n" + time + "\ncreel " CREEL_VERSION "\n\n";
  out.reserve(out.size() + threads_.size() * 1400);
  for (const ThreadInfo& thread : threads_) add_thread(out, thread, time);
  return out;
}

}  // namespace creel
