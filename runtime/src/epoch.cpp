#include <creel/runtime/detail/epoch.hpp>
#include <creel/runtime/detail/striped.hpp>

#include <array>
#include <atomic>

namespace creel::detail {
namespace {

struct alignas(kCacheLine) Readers {
  std::array<std::atomic<std::uint64_t>, 2> of_parity;  // of the epoch in which they came
};

// Constant-initialised and never destroyed: maps may be used by static destructors.
constinit std::array<Readers, 64> all_readers{};
alignas(kCacheLine) constinit std::atomic<std::uint64_t> epoch{2};

bool nobody_left(std::uint64_t parity) noexcept {
  for (std::size_t i = 0; i < stripe_count(); ++i) {
    // acquire, with the release of ~ReadGuard: what they read is read before it is freed. seq_cst: below.
    if (all_readers[i].of_parity[parity].load(std::memory_order_seq_cst) != 0) return false;
  }
  return true;
}

}  // namespace

// seq_cst: either we see that the epoch has gone on, or whoever moves it on again sees us. A reader that
// was counted too late for its epoch counts itself again; until then it only delays.
ReadGuard::ReadGuard() noexcept {
  for (;;) {
    const std::uint64_t now = epoch.load(std::memory_order_acquire);
    std::atomic<std::uint64_t>& readers = all_readers[current_stripe()].of_parity[now & 1];
    readers.fetch_add(1, std::memory_order_seq_cst);
    if (epoch.load(std::memory_order_seq_cst) == now) {
      readers_ = &readers;
      return;
    }
    readers.fetch_sub(1, std::memory_order_release);
  }
}

ReadGuard::~ReadGuard() {
  static_cast<std::atomic<std::uint64_t>*>(readers_)->fetch_sub(1, std::memory_order_release);
}

// A read-modify-write, so that the next move of the epoch reads from it: whoever reads in a later epoch then
// sees what we have made unreachable.
std::uint64_t retire_epoch() noexcept { return epoch.fetch_add(0, std::memory_order_acq_rel); }

bool may_free(std::uint64_t retired) noexcept {
  for (;;) {
    std::uint64_t now = epoch.load(std::memory_order_seq_cst);
    if (now >= retired + 2) return true;
    // Of the epoch before, which has the parity of the next.
    if (!nobody_left((now + 1) & 1)) return false;
    epoch.compare_exchange_strong(now, now + 1, std::memory_order_seq_cst);
  }
}

}  // namespace creel::detail
