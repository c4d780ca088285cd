#pragma once

#include "unwind_modules.hpp"
#include "unwind_row.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace creel {
struct StackFrame;
}

namespace creel::detail {

/// One frame of a walked stack. The function at `code` was at `pc`; its frame ends at `cfa` (its caller's
/// rsp).
struct RawFrame {
  std::uint32_t code = 0;  ///< index for Unwinder::code()
  std::uintptr_t pc = 0;
  std::uintptr_t cfa = 0;
};

/// What is known of one address of code: how to step out of it, and later its name.
struct CodeEntry {
  std::uintptr_t lookup = 0;  ///< the address inside the instruction: pc, or pc - 1 for a return address
  LoadedObject* object = nullptr;
  UnwindRow row;
  const std::vector<StackFrame>* frames =
      nullptr;  ///< filled in by the symbolizer; innermost inlined function first
};

/// Walks copied stacks by call frame information. A warm frame costs one probe of a hash table, which also
/// finds its symbol afterwards. Works on code without frame pointers; never reads outside of the copy. Not
/// thread-safe: guarded by the dump engine's lock.
class Unwinder {
 public:
  static constexpr std::size_t kMaxDepth = 1024;  // as the JVM's MaxJavaStackTraceDepth

  /// Follows dlopen and dlclose; call before a batch of walks. True if all code() entries became void.
  bool refresh();

  /// How the innermost address is to be read.
  enum class Innermost : std::uint8_t { Interrupted, ReturnAddress };
  /// How a walk ended.
  enum class End : std::uint8_t {
    Outermost,
    Cut
  };  // Cut: more frames exist, or may exist, beyond what was copied

  /// Appends the frames of a stack to `out`, innermost first.
  End walk(WalkRegisters registers, Innermost innermost, const StackCopy& stack, std::vector<RawFrame>& out);

  CodeEntry& code(std::uint32_t index) noexcept { return entries_[index]; }

 private:
  std::uint32_t find_code(std::uintptr_t lookup);
  void grow();
  bool follow_frame_pointer(const StackCopy& stack, bool innermost, WalkRegisters& registers,
                            std::uint64_t& cfa);
  bool find_frame_pointer(const StackCopy& stack, std::uintptr_t pc, WalkRegisters& registers);

  LoadedObjects objects_;
  std::vector<std::unique_ptr<GeneralRow>> general_rows_;
  std::vector<CodeEntry> entries_;
  std::vector<std::uint32_t> slots_;  // open addressing: 1 + index into entries_; 0 is free
};

}  // namespace creel::detail
