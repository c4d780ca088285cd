#include "unwind_row.hpp"

#include <dwarf.h>

#include <cstdlib>
#include <limits>
#include <span>

namespace creel::detail {
namespace {

struct FreeFrame {
  void operator()(Dwarf_Frame* frame) const noexcept { std::free(frame); }  // allocated by libdw with malloc
};

std::vector<DwarfOperation> copy_operations(const Dwarf_Op* operations, std::size_t count) {
  std::vector<DwarfOperation> copy;
  copy.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    copy.push_back({operations[i].atom, operations[i].number, operations[i].number2});
  }
  return copy;
}

// Whether the CFA is a register plus an offset; libdw says so by either of two operations.
bool base_plus_offset(const std::vector<DwarfOperation>& operations, std::uint64_t& number,
                      std::int64_t& offset) noexcept {
  if (operations.size() != 1) return false;
  const DwarfOperation& only = operations[0];
  const bool indexed = only.atom == DW_OP_bregx;
  if (!indexed && (only.atom < DW_OP_breg0 || only.atom > DW_OP_breg31)) return false;
  number = indexed ? only.number : only.atom - std::uint64_t{DW_OP_breg0};
  offset = static_cast<std::int64_t>(indexed ? only.number2 : only.number);
  return number < WalkRegisters::kCount;
}

GeneralRow::Rule read_rule(Dwarf_Frame* frame, int number) {
  std::array<Dwarf_Op, 3> space{};
  Dwarf_Op* operations = nullptr;
  std::size_t count = 0;
  GeneralRow::Rule rule;
  if (dwarf_frame_register(frame, number, space.data(), &operations, &count) != 0) {
    rule.kind = GeneralRow::Kind::Undefined;
  } else if (count == 0) {
    rule.kind = operations == nullptr ? GeneralRow::Kind::Same : GeneralRow::Kind::Undefined;
  } else {
    rule.operations = copy_operations(operations, count);
    rule.kind = GeneralRow::Kind::AtAddress;
    const std::uint8_t last = rule.operations.back().atom;
    if (last == DW_OP_stack_value) {
      rule.kind = GeneralRow::Kind::Value;
      rule.operations.pop_back();
    } else if (count == 1 && (last == DW_OP_regx || (last >= DW_OP_reg0 && last <= DW_OP_reg31))) {
      // Kept in another register: its value is that register's.
      const std::uint64_t from =
          last == DW_OP_regx ? rule.operations[0].number : last - std::uint64_t{DW_OP_reg0};
      rule.kind = GeneralRow::Kind::Value;
      rule.operations = {{DW_OP_bregx, from, 0}};
    }
  }
  return rule;
}

// Offset from the CFA in words, if the rule is "stored at CFA + 8n".
bool word_offset(const GeneralRow::Rule& rule, std::int16_t& words) noexcept {
  if (rule.kind != GeneralRow::Kind::AtAddress || rule.operations.empty() || rule.operations.size() > 2)
    return false;
  if (rule.operations[0].atom != DW_OP_call_frame_cfa) return false;
  std::int64_t offset = 0;
  if (rule.operations.size() == 2) {
    if (rule.operations[1].atom != DW_OP_plus_uconst) return false;
    offset = static_cast<std::int64_t>(rule.operations[1].number);
  }
  if (offset % 8 != 0 || offset / 8 <= INT16_MIN || offset / 8 > INT16_MAX) return false;
  words = static_cast<std::int16_t>(offset / 8);
  return true;
}

bool make_compact(const GeneralRow& general, UnwindRow& row) noexcept {
  std::uint64_t base = 0;
  std::int64_t offset = 0;
  if (!base_plus_offset(general.cfa, base, offset)) return false;
  if (offset < std::numeric_limits<std::int32_t>::min() ||
      offset > std::numeric_limits<std::int32_t>::max()) {
    return false;
  }
  row.cfa_register = static_cast<std::uint8_t>(base);
  row.cfa_offset = static_cast<std::int32_t>(offset);
  if (!word_offset(general.rules[WalkRegisters::kRip], row.return_address)) return false;
  for (std::size_t i = 0; i < row.saved.size(); ++i) {
    const GeneralRow::Rule& rule = general.rules[UnwindRow::kSavedNumbers[i]];
    if (rule.kind == GeneralRow::Kind::Same) {
      row.saved[i] = UnwindRow::kKept;
    } else if (!word_offset(rule, row.saved[i])) {
      return false;
    }
  }
  row.kind = UnwindRow::Kind::Compact;
  return true;
}

// A stack machine for DWARF expressions, without the operations that no compiler emits for call frames.
class Evaluator {
 public:
  Evaluator(const WalkRegisters& registers, const StackCopy& stack) noexcept
      : registers_(registers), stack_(stack) {}

  bool run(std::span<const DwarfOperation> operations, std::uint64_t cfa, std::uint64_t& result) noexcept {
    depth_ = 0;
    for (const DwarfOperation& operation : operations) {
      if (!apply(operation, cfa)) return false;
    }
    return pop(result);
  }

 private:
  bool push(std::uint64_t value) noexcept {
    if (depth_ == values_.size()) return false;
    values_[depth_++] = value;
    return true;
  }
  bool pop(std::uint64_t& value) noexcept {
    if (depth_ == 0) return false;
    value = values_[--depth_];
    return true;
  }
  bool push_register(std::uint64_t number, std::uint64_t offset) noexcept {
    return number < WalkRegisters::kCount && registers_.has(static_cast<unsigned>(number)) &&
           push(registers_.value[number] + offset);
  }

  bool apply(const DwarfOperation& operation, std::uint64_t cfa) noexcept {
    const std::uint8_t atom = operation.atom;
    if (atom >= DW_OP_breg0 && atom <= DW_OP_breg31) {
      return push_register(std::uint64_t{atom} - DW_OP_breg0, operation.number);
    }
    if (atom >= DW_OP_lit0 && atom <= DW_OP_lit31) return push(std::uint64_t{atom} - DW_OP_lit0);
    std::uint64_t a = 0;
    switch (atom) {
      case DW_OP_call_frame_cfa:
        return push(cfa);
      case DW_OP_bregx:
        return push_register(operation.number, operation.number2);
      case DW_OP_const1u:
      case DW_OP_const1s:
      case DW_OP_const2u:
      case DW_OP_const2s:
      case DW_OP_const4u:
      case DW_OP_const4s:
      case DW_OP_const8u:
      case DW_OP_const8s:
      case DW_OP_constu:
      case DW_OP_consts:
        return push(operation.number);
      case DW_OP_plus_uconst:
        return pop(a) && push(a + operation.number);
      case DW_OP_deref: {
        if (!pop(a)) return false;
        const std::optional<std::uint64_t> value = stack_.read(a);
        return value && push(*value);
      }
      case DW_OP_dup:
        return pop(a) && push(a) && push(a);
      case DW_OP_drop:
        return pop(a);
      case DW_OP_neg:
        return pop(a) && push(0 - a);
      case DW_OP_not:
        return pop(a) && push(~a);
      default:
        return apply_binary(atom);
    }
  }

  bool apply_binary(std::uint8_t atom) noexcept {
    std::uint64_t b = 0, a = 0;
    if (!pop(b) || !pop(a)) return false;
    const auto sa = static_cast<std::int64_t>(a), sb = static_cast<std::int64_t>(b);
    switch (atom) {
      case DW_OP_plus:
        return push(a + b);
      case DW_OP_minus:
        return push(a - b);
      case DW_OP_mul:
        return push(a * b);
      case DW_OP_and:
        return push(a & b);
      case DW_OP_or:
        return push(a | b);
      case DW_OP_xor:
        return push(a ^ b);
      case DW_OP_shl:
        return push(b < 64 ? a << b : 0);
      case DW_OP_shr:
        return push(b < 64 ? a >> b : 0);
      case DW_OP_eq:
        return push(a == b);
      case DW_OP_ne:
        return push(a != b);
      case DW_OP_lt:
        return push(sa < sb);
      case DW_OP_le:
        return push(sa <= sb);
      case DW_OP_gt:
        return push(sa > sb);
      case DW_OP_ge:
        return push(sa >= sb);
      case DW_OP_swap:
        return push(b) && push(a);
      case DW_OP_over:
        return push(a) && push(b) && push(a);
      default:
        return false;
    }
  }

  const WalkRegisters& registers_;
  const StackCopy& stack_;
  std::array<std::uint64_t, 32> values_;
  std::size_t depth_ = 0;
};

bool step_compact(const UnwindRow& row, const StackCopy& stack, WalkRegisters& registers,
                  std::uint64_t& cfa) noexcept {
  if (!registers.has(row.cfa_register)) return false;
  cfa = registers.value[row.cfa_register] + static_cast<std::uint64_t>(std::int64_t{row.cfa_offset});
  const auto at = [cfa](std::int16_t words) {
    return cfa + static_cast<std::uint64_t>(std::int64_t{words} * 8);
  };
  const std::optional<std::uint64_t> return_address = stack.read(at(row.return_address));
  if (!return_address) return false;
  for (std::size_t i = 0; i < row.saved.size(); ++i) {
    if (row.saved[i] == UnwindRow::kKept) continue;
    if (const auto value = stack.read(at(row.saved[i]))) {
      registers.set(UnwindRow::kSavedNumbers[i], *value);
    } else {
      registers.forget(UnwindRow::kSavedNumbers[i]);
    }
  }
  registers.set(WalkRegisters::kRsp, cfa);
  registers.set(WalkRegisters::kRip, *return_address);
  return true;
}

bool step_general(const GeneralRow& row, const StackCopy& stack, WalkRegisters& registers,
                  std::uint64_t& cfa) noexcept {
  Evaluator evaluator(registers, stack);
  if (!evaluator.run(row.cfa, 0, cfa)) return false;
  WalkRegisters caller;
  for (unsigned number = 0; number < WalkRegisters::kCount; ++number) {
    const GeneralRow::Rule& rule = row.rules[number];
    std::uint64_t value = 0;
    switch (rule.kind) {
      case GeneralRow::Kind::Same:
        if (number == WalkRegisters::kRsp) {
          caller.set(number, cfa);
        } else if (registers.has(number)) {
          caller.set(number, registers.value[number]);
        }
        break;
      case GeneralRow::Kind::Undefined:
        break;
      case GeneralRow::Kind::Value:
        if (evaluator.run(rule.operations, cfa, value)) caller.set(number, value);
        break;
      case GeneralRow::Kind::AtAddress:
        if (evaluator.run(rule.operations, cfa, value)) {
          if (const auto loaded = stack.read(value)) caller.set(number, *loaded);
        }
        break;
    }
  }
  registers = caller;
  return registers.has(WalkRegisters::kRip) && registers.has(WalkRegisters::kRsp);
}

}  // namespace

UnwindRow compile_row(LoadedObject& object, std::uintptr_t address,
                      std::vector<std::unique_ptr<GeneralRow>>& pool) {
  UnwindRow row;
  Dwarf_CFI* cfi = object.cfi();
  Dwarf_Frame* raw = nullptr;
  if (cfi == nullptr || dwarf_cfi_addrframe(cfi, address - object.bias(), &raw) != 0) return row;
  const std::unique_ptr<Dwarf_Frame, FreeFrame> frame(raw);
  bool signal_frame = false;
  const int return_address = dwarf_frame_info(raw, nullptr, nullptr, &signal_frame);
  if (return_address != WalkRegisters::kRip) return row;
  row.signal_frame = signal_frame;

  auto general = std::make_unique<GeneralRow>();
  Dwarf_Op* operations = nullptr;
  std::size_t count = 0;
  if (dwarf_frame_cfa(raw, &operations, &count) != 0) return row;
  general->cfa = copy_operations(operations, count);
  for (int number = 0; number < WalkRegisters::kCount; ++number) {
    general->rules[static_cast<std::size_t>(number)] = read_rule(raw, number);
  }
  if (general->rules[WalkRegisters::kRip].kind == GeneralRow::Kind::Undefined) {
    row.kind = UnwindRow::Kind::Outermost;
    return row;
  }
  // A signal frame gives back every register, not only the callee-saved ones: never compact.
  if (!signal_frame && make_compact(*general, row)) return row;
  row.kind = UnwindRow::Kind::General;
  row.general = pool.emplace_back(std::move(general)).get();
  return row;
}

bool step(const UnwindRow& row, const StackCopy& stack, WalkRegisters& registers,
          std::uint64_t& cfa) noexcept {
  if (row.kind == UnwindRow::Kind::Compact) {
    if (!step_compact(row, stack, registers, cfa)) return false;
    // What a call may destroy is not known in the caller.
    constexpr std::uint32_t kPreserved = 1U << WalkRegisters::kRbx | 1U << WalkRegisters::kRbp |
                                         1U << WalkRegisters::kRsp | 0xF000U | 1U << WalkRegisters::kRip;
    registers.known &= kPreserved;
    return true;
  }
  return row.kind == UnwindRow::Kind::General && step_general(*row.general, stack, registers, cfa);
}

}  // namespace creel::detail
