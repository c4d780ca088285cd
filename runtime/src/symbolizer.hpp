#pragma once

#include "unwind_modules.hpp"
#include "unwinder.hpp"

#include <creel/runtime/stack_trace.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace creel::detail {

/// Names addresses of code: function, file and line, with the functions that the compiler inlined there.
/// Each object's symbol table is indexed when an address of it is first asked for (40 ms for LibTorch's
/// 550,000 symbols), each compilation unit's lines likewise. Not thread-safe: guarded by the dump engine's
/// lock.
class Symbolizer {
 public:
  /// The frames at the address, innermost inlined function first; never empty. The reference stays good for
  /// ever.
  const std::vector<StackFrame>& resolve(CodeEntry& entry);

  /// Forgets what is known of objects; call when one was unloaded. Frames handed out stay good.
  void forget_objects() noexcept { indexes_.clear(); }

 private:
  struct Symbol {
    std::uint64_t address;
    std::uint32_t size;
    std::uint32_t name;  // offset in the string table
  };
  struct Unit {
    std::uint64_t low, high;
    Dwarf_Off die;
  };
  struct Index {
    std::vector<Symbol> symbols;  // functions, sorted by address
    const char* names = nullptr;
    std::size_t names_size = 0;
    std::vector<Unit> units;  // sorted by low; only for objects without .debug_aranges
    bool units_built = false;
  };

  Index& index(LoadedObject& object);
  const char* symbol_at(LoadedObject& object, std::uint64_t address);
  bool unit_at(LoadedObject& object, std::uint64_t address, Dwarf_Die& unit);
  void add_lines(LoadedObject& object, std::uint64_t address, std::vector<StackFrame>& frames);

  std::map<const LoadedObject*, Index> indexes_;
  std::deque<std::vector<StackFrame>> interned_;
};

}  // namespace creel::detail
