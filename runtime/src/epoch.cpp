#include "asymmetric_fence.hpp"
#include "sync_point.hpp"

#include <creel/runtime/detail/epoch.hpp>
#include <creel/runtime/detail/spin_lock.hpp>
#include <creel/runtime/detail/striped.hpp>

#include <pthread.h>

#include <array>
#include <atomic>
#include <mutex>

namespace creel::detail {
namespace {

using Counters = std::array<std::atomic<std::uint64_t>, 2>;  // by the parity of the epoch

// Everything here is constant-initialised and never destroyed: maps may be used by static destructors, and by
// destructors of thread_locals.
template <Freeing>
alignas(kCacheLine) constinit std::atomic<std::uint64_t> epoch{2};

/// Readers of EpochDomain<AtOnce>: a cache line for each processor.
struct alignas(kCacheLine) ProcessorReaders {
  Counters counters{};
};
constinit std::array<ProcessorReaders, 64> processor_readers{};

/// Readers of EpochDomain<Batched>: a cache line for each thread of the operating system, which alone writes
/// `here`, so that no atomic operation is needed. A virtual thread that leaves on another carrier than it
/// came in on counts itself in `elsewhere`: here - elsewhere are inside. Handed on when its thread ends, with
/// what is still counted in it.
struct alignas(kCacheLine) ThreadReaders {
  Counters here{};
  Counters elsewhere{};
  ThreadReaders* next = nullptr;  // of all that ever were
  ThreadReaders* next_free = nullptr;
};
// For threads whose own has been handed on already (their last thread_locals are being destroyed).
constinit ThreadReaders late_readers;

struct ThreadReadersPool {
  SpinLock lock;
  std::atomic<ThreadReaders*> all{&late_readers};
  ThreadReaders* free = nullptr;  // guarded by lock
};
constinit ThreadReadersPool pool;

thread_local constinit ThreadReaders* own_readers = nullptr;
thread_local constinit bool is_late = false;

struct HandOn {
  ~HandOn() {
    is_late = true;
    ThreadReaders* const mine = std::exchange(own_readers, nullptr);
    const std::lock_guard guard{pool.lock};
    mine->next_free = std::exchange(pool.free, mine);
  }
};

// Of a fork() the child has one thread: what the others were counted in is free again.
void only_own_readers_are_left() noexcept {
  pool.free = nullptr;
  for (ThreadReaders* each = pool.all.load(std::memory_order_relaxed); each != nullptr; each = each->next) {
    if (each == own_readers) continue;
    for (Counters* counters : {&each->here, &each->elsewhere}) {
      for (auto& counter : *counters) counter.store(0, std::memory_order_relaxed);
    }
    if (each != &late_readers) each->next_free = std::exchange(pool.free, each);
  }
  pool.lock.unlock();
}

[[gnu::cold]] ThreadReaders* take_readers() noexcept {
  if (is_late) return nullptr;
  static const int registered =
      ::pthread_atfork([] { pool.lock.lock(); }, [] { pool.lock.unlock(); }, only_own_readers_are_left);
  static_cast<void>(registered);
  ThreadReaders* mine = nullptr;
  {
    const std::lock_guard guard{pool.lock};
    if ((mine = pool.free) != nullptr) {
      pool.free = mine->next_free;
    } else {
      mine = new ThreadReaders;
      mine->next = pool.all.load(std::memory_order_relaxed);
      pool.all.store(mine, std::memory_order_release);
    }
  }
  own_readers = mine;
  thread_local HandOn at_exit;
  static_cast<void>(at_exit);
  return mine;
}

void add_to_own(std::atomic<std::uint64_t>& counter, std::uint64_t amount) noexcept {
  // release: what was read is read before the count says so.
  counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_release);
}

}  // namespace

// In both domains, either who moves the epoch on sees a reader counted, or the reader, who looks at the epoch
// again once it is counted, sees that the epoch has gone on and counts itself once more. Until then it only
// delays.

template <>
[[gnu::noinline]] EpochDomain<Freeing::AtOnce>::Reading EpochDomain<Freeing::AtOnce>::enter() noexcept {
  for (;;) {
    const std::uint64_t now = epoch<Freeing::AtOnce>.load(std::memory_order_acquire);
    std::atomic<std::uint64_t>& counter = processor_readers[current_stripe()].counters[now & 1];
    counter.fetch_add(1, std::memory_order_seq_cst);
    sync_point();
    if (epoch<Freeing::AtOnce>.load(std::memory_order_seq_cst) == now) return {&counter, now & 1};
    counter.fetch_sub(1, std::memory_order_release);
  }
}

template <>
[[gnu::noinline]] void EpochDomain<Freeing::AtOnce>::leave(Reading reading) noexcept {
  static_cast<std::atomic<std::uint64_t>*>(reading.counter)->fetch_sub(1, std::memory_order_release);
}

// No virtual thread changes its carrier inside of these two, so that the thread_local is the right one.
template <>
[[gnu::noinline]] EpochDomain<Freeing::Batched>::Reading EpochDomain<Freeing::Batched>::enter() noexcept {
  ThreadReaders* readers = own_readers;
  if (readers == nullptr) [[unlikely]]
    readers = take_readers();
  const bool is_own = readers != nullptr;
  if (!is_own) [[unlikely]]
    readers = &late_readers;
  for (;;) {
    const std::uint64_t now = epoch<Freeing::Batched>.load(std::memory_order_acquire);
    const std::size_t parity = now & 1;
    if (is_own) [[likely]] {
      add_to_own(readers->here[parity], 1);
    } else {
      readers->here[parity].fetch_add(1, std::memory_order_relaxed);
    }
    asymmetric_light_fence();  // with the heavy one of may_free()
    sync_point();
    if (epoch<Freeing::Batched>.load(std::memory_order_acquire) == now) [[likely]]
      return {readers, parity};
    leave({readers, parity});
  }
}

template <>
[[gnu::noinline]] void EpochDomain<Freeing::Batched>::leave(Reading reading) noexcept {
  auto* const readers = static_cast<ThreadReaders*>(reading.counter);
  if (readers == own_readers) [[likely]] {
    add_to_own(readers->here[reading.parity], std::uint64_t(0) - 1);
  } else {
    readers->elsewhere[reading.parity].fetch_add(1, std::memory_order_release);
  }
}

namespace {

// acquire, with the release of leave(): what readers read is read before it is freed.
template <Freeing kFreeing>
bool nobody_left(std::size_t parity) noexcept {
  if constexpr (kFreeing == Freeing::AtOnce) {
    for (std::size_t i = 0; i < stripe_count(); ++i) {
      if (processor_readers[i].counters[parity].load(std::memory_order_seq_cst) != 0) return false;
    }
  } else {
    const ThreadReaders* each = pool.all.load(std::memory_order_acquire);
    for (; each != nullptr; each = each->next) {
      const std::uint64_t elsewhere = each->elsewhere[parity].load(std::memory_order_acquire);
      if (each->here[parity].load(std::memory_order_acquire) != elsewhere) return false;
    }
  }
  return true;
}

}  // namespace

// A read-modify-write, so that the next move of the epoch reads from it: whoever reads in a later epoch then
// sees what we have made unreachable.
template <Freeing kFreeing>
std::uint64_t EpochDomain<kFreeing>::retire() noexcept {
  return epoch<kFreeing>.fetch_add(0, std::memory_order_acq_rel);
}

template <Freeing kFreeing>
bool EpochDomain<kFreeing>::may_free(std::uint64_t retired) noexcept {
  for (;;) {
    std::uint64_t now = epoch<kFreeing>.load(std::memory_order_seq_cst);
    if (now >= retired + 2) return true;
    const std::size_t before = (now + 1) & 1;  // the epoch before has the parity of the next
    if (!nobody_left<kFreeing>(before)) return false;
    if constexpr (kFreeing == Freeing::Batched) {
      asymmetric_heavy_fence();
      if (!nobody_left<kFreeing>(before)) return false;
    }
    epoch<kFreeing>.compare_exchange_strong(now, now + 1, std::memory_order_seq_cst);
  }
}

template struct EpochDomain<Freeing::AtOnce>;
template struct EpochDomain<Freeing::Batched>;

}  // namespace creel::detail
