#include "dump_engine.hpp"
#include "own_stack.hpp"

#include <creel/runtime/stack_trace.hpp>

#include <algorithm>
#include <mutex>

namespace creel {

StackTrace StackTrace::current(std::size_t skip) {
  const detail::WalkRegisters registers = detail::capture_registers();
  detail::DumpEngine& engine = detail::DumpEngine::instance();
  const std::lock_guard guard{engine.lock};
  engine.refresh();
  std::vector<detail::RawFrame> raw;
  const detail::OwnStack stack(registers.value[detail::WalkRegisters::kRsp]);
  const auto end =
      engine.unwinder.walk(registers, detail::Unwinder::Innermost::Interrupted, stack.copy(), raw);
  StackTrace trace;
  trace.cut_ = end == detail::Unwinder::End::Cut;
  for (std::size_t i = 1; i < raw.size(); ++i) {  // the first is this function
    for (const StackFrame& frame : engine.symbolizer.resolve(engine.unwinder.code(raw[i].code))) {
      if (skip > 0) {
        --skip;
      } else {
        trace.frames_.push_back(&frame);
      }
    }
  }
  return trace;
}

std::string StackTrace::to_string() const {
  std::string text;
  for (const StackFrame* frame : frames_) text.append("\tat ").append(frame->text).append("\n");
  if (cut_) text += "\t...\n";
  return text;
}

}  // namespace creel
