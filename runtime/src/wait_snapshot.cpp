#include "wait_snapshot.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace creel::detail {
namespace {

constexpr int kAttempts = 8;
constexpr std::size_t kPiece = 64;  // a read that does not cross a multiple of this does not cross a page

std::uint64_t load(const std::uint64_t& word) noexcept { return __atomic_load_n(&word, __ATOMIC_RELAXED); }

}  // namespace

std::optional<WaitSnapshot> read_wait(const ParkSite& site) noexcept {
  constexpr auto kRelaxed = std::memory_order_relaxed;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    WaitSnapshot wait;
    wait.epoch = site.epoch.load(std::memory_order_acquire);
    if (wait.epoch % 2 == 0) return std::nullopt;
    const Registers& from = site.registers;
    wait.registers = {load(from.rip), load(from.rsp), load(from.rbp), load(from.rbx),
                      load(from.r12), load(from.r13), load(from.r14), load(from.r15)};
    wait.object = site.object.load(kRelaxed);
    wait.type = site.type.load(kRelaxed);
    wait.name = site.name.load(kRelaxed);
    wait.owner = site.owner.load(kRelaxed);
    wait.wakers = site.wakers.load(kRelaxed);
    wait.kind = site.kind.load(kRelaxed);
    wait.timed = site.timed.load(kRelaxed);
    wait.since_ns = site.since_ns.load(kRelaxed);
    if (still_waits(site, wait)) return wait;
  }
  return std::nullopt;  // it parks and wakes faster than we read: as good as running
}

std::uint64_t WaitSnapshot::read_owner() const noexcept {
  std::uint64_t id = 0;
  return owner != nullptr && safe_read(owner, &id, sizeof id) ? id & ~kOwnerFlag : 0;
}

WalkRegisters to_walk(const Registers& from) noexcept {
  WalkRegisters registers;
  registers.set(WalkRegisters::kRip, from.rip);
  registers.set(WalkRegisters::kRsp, from.rsp);
  registers.set(WalkRegisters::kRbp, from.rbp);
  registers.set(WalkRegisters::kRbx, from.rbx);
  registers.set(WalkRegisters::kR12, from.r12);
  registers.set(WalkRegisters::kR13, from.r13);
  registers.set(WalkRegisters::kR14, from.r14);
  registers.set(WalkRegisters::kR15, from.r15);
  return registers;
}

std::string WaitSnapshot::read_name() const { return safe_read_text(name); }

std::string safe_read_text(const char* text) {
  std::string whole;
  if (text == nullptr) return whole;
  std::array<char, kPiece> piece;
  while (whole.size() < 256 - kPiece) {
    const auto address = reinterpret_cast<std::uintptr_t>(text) + whole.size();
    const std::size_t size = kPiece - address % kPiece;
    if (!safe_read(reinterpret_cast<const char*>(address), piece.data(), size)) break;
    const std::size_t length = ::strnlen(piece.data(), size);
    whole.append(piece.data(), length);
    if (length < size) break;
  }
  return whole;
}

}  // namespace creel::detail
