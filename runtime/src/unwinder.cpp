#include "unwinder.hpp"

#include "thread_record.hpp"

#include <array>
#include <cstring>

namespace creel::detail {
namespace {

constexpr std::size_t kFirstSlots = 1024;

std::size_t hash(std::uintptr_t address) noexcept {
  return static_cast<std::size_t>((address * 0x9E3779B97F4A7C15ULL) >> 20);
}

}  // namespace

bool Unwinder::refresh() {
  if (!objects_.refresh()) return false;
  entries_.clear();
  slots_.clear();
  general_rows_.clear();
  return true;
}

void Unwinder::grow() {
  const std::size_t size = slots_.empty() ? kFirstSlots : slots_.size() * 2;
  slots_.assign(size, 0);
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    std::size_t slot = hash(entries_[i].lookup) & (size - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (size - 1);
    slots_[slot] = static_cast<std::uint32_t>(i + 1);
  }
}

std::uint32_t Unwinder::find_code(std::uintptr_t lookup) {
  if ((entries_.size() + 1) * 2 > slots_.size()) grow();
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = hash(lookup) & mask;
  for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
    if (entries_[slots_[slot] - 1].lookup == lookup) return slots_[slot] - 1;
  }
  CodeEntry& entry = entries_.emplace_back();
  entry.lookup = lookup;
  entry.object = objects_.find(lookup);
  if (entry.object != nullptr) entry.row = compile_row(*entry.object, lookup, general_rows_);
  slots_[slot] = static_cast<std::uint32_t>(entries_.size());
  return slots_[slot] - 1;
}

// Code without call frame information: generated code, hand-written assembly, or a call through a wild
// pointer.
bool Unwinder::follow_frame_pointer(const StackCopy& stack, bool innermost, WalkRegisters& registers,
                                    std::uint64_t& cfa) {
  const std::uint64_t rsp = registers.value[WalkRegisters::kRsp];
  const std::uint64_t rbp = registers.value[WalkRegisters::kRbp];
  if (innermost && objects_.find(registers.value[WalkRegisters::kRip]) == nullptr) {
    // Jumped to nowhere: the call has pushed its return address and nothing else has happened.
    const auto return_address = stack.read(rsp);
    if (return_address && objects_.find(*return_address) != nullptr) {
      cfa = rsp + 8;
      registers.set(WalkRegisters::kRip, *return_address);
      registers.set(WalkRegisters::kRsp, cfa);
      return true;
    }
  }
  if (!registers.has(WalkRegisters::kRbp) || rbp < rsp) return false;
  const auto caller_rbp = stack.read(rbp);
  const auto return_address = stack.read(rbp + 8);
  if (!caller_rbp || !return_address || objects_.find(*return_address) == nullptr) return false;
  cfa = rbp + 16;
  registers.set(WalkRegisters::kRip, *return_address);
  registers.set(WalkRegisters::kRsp, cfa);
  registers.set(WalkRegisters::kRbp, *caller_rbp);
  return true;
}

// The function at `pc` keeps its frame by rbp, and the walk began without knowing that. What it stored there
// on entry, the caller's rbp below the return address, is the first such pair up its stack: a place within
// this stack, and an address behind a call; if that call names its target, it is to have called this very
// function.
bool Unwinder::find_frame_pointer(const StackCopy& stack, std::uintptr_t pc, WalkRegisters& registers) {
  constexpr std::uintptr_t kLargestFrame = 64 * 1024, kLargestFunction = 256 * 1024;
  const std::uint64_t first = (registers.value[WalkRegisters::kRsp] + 7) & ~std::uint64_t{7};
  const std::uint64_t end = stack.low + stack.size;
  const LoadedObject* own = objects_.find(pc);
  for (std::uint64_t at = first; at < end && at - first < kLargestFrame; at += 8) {
    const auto caller_rbp = stack.read(at), return_address = stack.read(at + 8);
    if (!caller_rbp || !return_address) return false;
    if (*caller_rbp != 0 && (*caller_rbp <= at || *caller_rbp >= end)) continue;
    const LoadedObject* caller = objects_.find(*return_address - 1);
    std::array<std::uint8_t, 5> call{};
    if (caller == nullptr ||
        !safe_read(reinterpret_cast<const void*>(*return_address - call.size()), call.data(), call.size()))
      continue;
    if (call[0] == 0xE8) {  // call rel32
      std::int32_t distance = 0;
      std::memcpy(&distance, &call[1], sizeof distance);
      const std::uintptr_t target = *return_address + static_cast<std::uintptr_t>(std::intptr_t{distance});
      // Else it goes by the table of another object's functions.
      if (objects_.find(target) == own && (target > pc || pc - target > kLargestFunction)) continue;
    } else if (call[3] != 0xFF && call[2] != 0xFF && !(call[0] == 0xFF || call[1] == 0xFF)) {  // call r/m64
      continue;
    }
    registers.set(WalkRegisters::kRbp, at);
    return true;
  }
  return false;
}

Unwinder::End Unwinder::walk(WalkRegisters registers, Innermost innermost, const StackCopy& stack,
                             std::vector<RawFrame>& out) {
  bool exact = innermost == Innermost::Interrupted;
  for (std::size_t depth = 0; depth < kMaxDepth; ++depth) {
    const std::uintptr_t pc = registers.value[WalkRegisters::kRip];
    if (pc == 0) return End::Outermost;
    const std::uint32_t code = find_code(exact ? pc : pc - 1);
    const UnwindRow row = entries_[code].row;
    RawFrame& frame = out.emplace_back(RawFrame{code, pc, 0});
    if (row.kind == UnwindRow::Kind::Outermost) {
      frame.cfa = stack.low + stack.size;
      return End::Outermost;
    }
    const std::uint64_t rsp = registers.value[WalkRegisters::kRsp];
    std::uint64_t cfa = 0;
    if (row.kind == UnwindRow::Kind::Compact && row.cfa_register == WalkRegisters::kRbp &&
        !registers.has(WalkRegisters::kRbp) && !find_frame_pointer(stack, pc, registers))
      return End::Cut;
    const bool stepped = row.kind == UnwindRow::Kind::None
                             ? follow_frame_pointer(stack, depth == 0, registers, cfa)
                             : step(row, stack, registers, cfa);
    frame.cfa = cfa;
    if (!stepped) return row.kind == UnwindRow::Kind::None ? End::Outermost : End::Cut;
    // A stack only shrinks on the way out; anything else is garbage that would go round for ever.
    if (registers.value[WalkRegisters::kRsp] <= rsp && !row.signal_frame) return End::Cut;
    exact = row.signal_frame;
  }
  return End::Cut;
}

}  // namespace creel::detail
