#pragma once

#include "unwind_modules.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

// How to step from a frame to its caller at one address, compiled from DWARF call frame information.

namespace creel::detail {

/// x86-64 registers by their DWARF numbers; a clear bit in `known` means that the value was lost on the way.
struct WalkRegisters {
  enum Number : std::uint8_t {
    kRbx = 3,
    kRbp = 6,
    kRsp = 7,
    kR12 = 12,
    kR13,
    kR14,
    kR15,
    kRip = 16,
    kCount = 17
  };
  std::array<std::uint64_t, kCount> value{};
  std::uint32_t known = 0;

  void set(unsigned number, std::uint64_t v) noexcept {
    value[number] = v;
    known |= 1U << number;
  }
  void forget(unsigned number) noexcept { known &= ~(1U << number); }
  bool has(unsigned number) const noexcept { return (known >> number & 1U) != 0; }
};

/// A copied piece of a stack: `bytes[i]` stood at address `low + i`.
struct StackCopy {
  std::uintptr_t low = 0;
  const std::byte* bytes = nullptr;
  std::size_t size = 0;

  std::optional<std::uint64_t> read(std::uint64_t address) const noexcept {
    std::uint64_t value;
    if (address < low || size < sizeof value || address - low > size - sizeof value) return std::nullopt;
    __builtin_memcpy(&value, bytes + (address - low), sizeof value);
    return value;
  }
};

/// One DWARF operation; the operands as libdw decodes them.
struct DwarfOperation {
  std::uint8_t atom;
  std::uint64_t number, number2;
};

/// The rules that do not fit a compact row: signal trampolines, PLT stubs, realigned frames.
struct GeneralRow {
  enum class Kind : std::uint8_t { Same, Undefined, AtAddress, Value };
  struct Rule {
    Kind kind = Kind::Same;
    std::vector<DwarfOperation> operations;
  };
  std::vector<DwarfOperation> cfa;
  std::array<Rule, WalkRegisters::kCount> rules;
};

/// Nearly every address of compiled code: CFA = register + offset, and each callee-saved register either kept
/// or stored at CFA + 8 * saved.
struct UnwindRow {
  enum class Kind : std::uint8_t { None, Outermost, Compact, General };
  static constexpr std::int16_t kKept = INT16_MIN;
  static constexpr std::array<std::uint8_t, 6> kSavedNumbers{WalkRegisters::kRbx, WalkRegisters::kRbp,
                                                             WalkRegisters::kR12, WalkRegisters::kR13,
                                                             WalkRegisters::kR14, WalkRegisters::kR15};
  Kind kind = Kind::None;
  bool signal_frame = false;
  std::uint8_t cfa_register = 0;
  std::int32_t cfa_offset = 0;
  std::int16_t return_address = -1;
  std::array<std::int16_t, 6> saved{};
  const GeneralRow* general = nullptr;
};

/// Compiles the rules for `address` of `object`. `pool` keeps the general rows that UnwindRow::general points
/// to. Kind None if the object says nothing about the address.
UnwindRow compile_row(LoadedObject& object, std::uintptr_t address,
                      std::vector<std::unique_ptr<GeneralRow>>& pool);

/// The caller's registers, given those of a frame, or nothing if the rules cannot be followed within `stack`.
/// `cfa` gets the frame's canonical address: rsp in the caller after the return.
bool step(const UnwindRow& row, const StackCopy& stack, WalkRegisters& registers,
          std::uint64_t& cfa) noexcept;

}  // namespace creel::detail
