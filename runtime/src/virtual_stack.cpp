#include "virtual_stack.hpp"

#include <creel/runtime/error.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <vector>

namespace creel::detail {
namespace {

constexpr std::size_t kLeastBytes = 16 * 1024;
constexpr std::size_t kSlabBytes = 64 * 1024 * 1024;
constexpr std::size_t kGuarded = 16'384;
constexpr std::size_t kWarm = 16'384;

// The stacks of one size, cut from slabs that are never unmapped: each slot is a page for the guard and the
// stack.
struct SizeClass {
  // Lows, with room for all there are: giving one back needs no memory.
  std::vector<std::uintptr_t> warm;  // used lately, their top pages are there
  std::vector<std::uintptr_t> cold;
  std::size_t count = 0;
  std::uintptr_t slab_next = 0;
  std::uintptr_t slab_end = 0;
};

struct StackPool {
  std::mutex lock;
  std::map<std::size_t, SizeClass> classes;
  std::size_t guarded = 0;
};

StackPool& pool() noexcept {
  static StackPool* all = new StackPool;  // never freed: carriers run until the process ends
  return *all;
}

std::size_t page_size() noexcept {
  static const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

void map_slab(SizeClass& stacks, std::size_t slot) {
  const std::size_t slots = std::max(kSlabBytes / slot, std::size_t{1});
  const std::size_t bytes = slots * slot;
  stacks.warm.reserve(std::min(stacks.count + slots, kWarm));
  stacks.cold.reserve(stacks.count + slots);
  void* slab = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (slab == MAP_FAILED) {
    throw Error("no address space for stacks of virtual threads: mmap of " + std::to_string(bytes) +
                " bytes: " + std::strerror(errno) +
                "; raise RLIMIT_AS or vm.max_map_count, or use smaller stacks");
  }
  // A huge page would make every first touch of a stack cost two megabytes.
  ::madvise(slab, bytes, MADV_NOHUGEPAGE);
  stacks.slab_next = reinterpret_cast<std::uintptr_t>(slab);
  stacks.slab_end = stacks.slab_next + bytes;
  stacks.count += slots;
}

std::size_t rounded(std::size_t bytes) noexcept {
  const std::size_t page = page_size();
  return (std::max(bytes, kLeastBytes) + page - 1) / page * page;
}

}  // namespace

VirtualStack acquire_virtual_stack(std::size_t bytes) {
  const std::size_t size = rounded(bytes);
  const std::size_t slot = size + page_size();
  StackPool& all = pool();
  const std::lock_guard guard{all.lock};
  SizeClass& stacks = all.classes[size];
  for (std::vector<std::uintptr_t>* used : {&stacks.warm, &stacks.cold}) {
    if (used->empty()) continue;
    const std::uintptr_t low = used->back();
    used->pop_back();
    return {low, low + size};
  }
  if (stacks.slab_next == stacks.slab_end) map_slab(stacks, slot);
  const std::uintptr_t low = stacks.slab_next + page_size();
  if (all.guarded < kGuarded &&
      ::mprotect(reinterpret_cast<void*>(stacks.slab_next), page_size(), PROT_NONE) == 0) {
    ++all.guarded;
  }
  stacks.slab_next += slot;
  return {low, low + size, true};
}

void release_virtual_stack(VirtualStack stack) noexcept {
  StackPool& all = pool();
  const std::size_t size = stack.high - stack.low;
  std::unique_lock guard{all.lock};
  SizeClass& stacks = all.classes[size];
  if (stacks.warm.size() < kWarm) {
    stacks.warm.push_back(stack.low);
    return;
  }
  guard.unlock();
  ::madvise(reinterpret_cast<void*>(stack.low), size, MADV_DONTNEED);
  guard.lock();
  stacks.cold.push_back(stack.low);
}

void reset_virtual_stacks_after_fork() noexcept { ::new (static_cast<void*>(&pool())) StackPool; }

}  // namespace creel::detail
