#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace creel {

/// One function on a stack, with its place in the source. Frames are interned: one object per place in the
/// program, which lives until the process ends.
struct StackFrame {
  std::uintptr_t address = 0;  ///< inside the instruction that was running, or that made the call
  std::string function;        ///< `creel::Channel<Sample>::take`, without parameters; empty if unknown
  std::string file;            ///< path as the compiler saw it; empty if there is no line information
  int line = 0;                ///< from 1; 0 if unknown
  std::string module;          ///< file name of the executable or library; empty for code of neither
  std::uintptr_t offset = 0;   ///< of `address` in the module's file
  bool inlined = false;        ///< the compiler inlined it into the next frame
  std::string text;            ///< as dumps print it: `function(file.cpp:118)` or `function(libx.so+0x1f3a)`
};

/// The calls that led to a point in a program, innermost first.
///
///     log::error("cache.miss", {{"at", creel::StackTrace::current().to_string()}});
///
/// Costs about 50 ns a frame once the places on it are known; the first time at a place, its symbol is looked
/// up (microseconds; milliseconds for the first one of a large library).
class StackTrace {
 public:
  StackTrace() = default;

  /// The calling thread's, without the innermost `skip` frames; the first frame is the caller of this
  /// function.
  [[gnu::noinline]] static StackTrace current(std::size_t skip = 0);

  const std::vector<const StackFrame*>& frames() const noexcept { return frames_; }
  bool empty() const noexcept { return frames_.empty(); }
  /// True if the walk ended before the thread's first function: too deep, or code without unwind tables.
  bool cut() const noexcept { return cut_; }

  /// One line a frame, `\tat function(file.cpp:118)`.
  std::string to_string() const;

  explicit StackTrace(std::vector<const StackFrame*> frames, bool cut = false) noexcept
      : frames_(std::move(frames)), cut_(cut) {}

  friend bool operator==(const StackTrace& a, const StackTrace& b) noexcept { return a.frames_ == b.frames_; }

 private:
  std::vector<const StackFrame*> frames_;
  bool cut_ = false;
};

}  // namespace creel
