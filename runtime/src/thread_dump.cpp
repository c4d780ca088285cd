#include "thread_dumper.hpp"

#include <creel/runtime/thread_dump.hpp>

#include <algorithm>
#include <mutex>
#include <ostream>

namespace creel {

ThreadDump ThreadDump::take(DumpOptions options) {
  detail::current_record();  // the caller is listed by its own record
  const detail::WalkRegisters here = detail::capture_registers();
  ThreadDump dump;
  detail::DumpEngine& engine = detail::DumpEngine::instance();
  const std::lock_guard guard{engine.lock};
  ThreadDumper(engine, dump).run(options, here);
  return dump;
}

const ThreadInfo* ThreadDump::find(std::uint64_t id) const noexcept {
  const auto found =
      std::find_if(threads_.begin(), threads_.end(), [id](const ThreadInfo& info) { return info.id == id; });
  return found != threads_.end() ? &*found : nullptr;
}

const ThreadInfo* ThreadDump::find(std::string_view name) const noexcept {
  const auto found = std::find_if(threads_.begin(), threads_.end(),
                                  [name](const ThreadInfo& info) { return info.name == name; });
  return found != threads_.end() ? &*found : nullptr;
}

void ThreadDump::write_text(std::ostream& out) const { out << to_text(); }

}  // namespace creel
