#include <creel/runtime/deadlock.hpp>

#include <array>
#include <cstdio>

namespace creel {
namespace {

std::string address_text(std::uintptr_t address) {
  std::array<char, 20> text{};
  std::snprintf(text.data(), text.size(), "0x%016lx", static_cast<unsigned long>(address));
  return text.data();
}

void add_quoted(std::string& out, const std::string& name) { out.append("\"").append(name).append("\""); }

// HotSpot's words, which readers of dumps look for.
void add_thread(std::string& out, const DeadlockedThread& thread) {
  add_quoted(out, thread.name);
  const std::string address = address_text(thread.lock.address);
  if (thread.wait == WaitKind::MonitorEnter) {
    out += ":\n  waiting to lock monitor " + address + " (object " + address + ", a ";
  } else if (thread.wait == WaitKind::Joining) {
    out += ":\n  waiting for the end of " + address + ", (a ";
  } else {
    out += ":\n  waiting for ownable synchronizer " + address + ", (a ";
  }
  out += thread.lock.type;
  if (!thread.lock.name.empty()) {
    out += " ";
    add_quoted(out, thread.lock.name);
  }
  if (!thread.wakers.empty()) {
    out += "),\n  which is served by ";
    for (std::size_t i = 0; i < thread.wakers.size(); ++i) {
      if (i > 0) out += ", ";
      add_quoted(out, thread.wakers[i]);
    }
  } else {
    out += thread.wait == WaitKind::Joining ? "),\n  which is " : "),\n  which is held by ";
    add_quoted(out, thread.lock.owner_name);
  }
  out += "\n\n";
}

}  // namespace

std::string to_string(const Deadlock& deadlock) {
  std::string text;
  for (const DeadlockedThread& thread : deadlock.threads) add_thread(text, thread);
  return text;
}

}  // namespace creel
