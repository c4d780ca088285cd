#include "stack_batch.hpp"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>

#if defined(__has_feature)
#define CREEL_HAS_FEATURE(x) __has_feature(x)
#else
#define CREEL_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || CREEL_HAS_FEATURE(address_sanitizer) || \
    CREEL_HAS_FEATURE(thread_sanitizer)
#define CREEL_SANITIZED 1
#else
#define CREEL_SANITIZED 0
#endif

namespace creel::detail {

bool StackBatch::add(std::size_t thread, const WaitSnapshot& wait, std::uintptr_t high, std::size_t most) {
  const std::uintptr_t low = wait.registers.rsp;
  const std::size_t size = std::min<std::size_t>(high - low, most);
  if (entries_.size() == kStacks || (used_ + size > kBytes && !entries_.empty())) return false;
  entries_.push_back({thread, wait, {low, buffer_.data() + used_, std::min(size, kBytes)}});
  used_ += entries_.back().stack.size;
  return true;
}

void StackBatch::copy() noexcept {
  std::array<iovec, kStacks> from;
  for (std::size_t begin = 0; begin < entries_.size();) {
    std::size_t wanted = 0;
    for (std::size_t i = begin; i < entries_.size(); ++i) {
      const StackCopy& stack = entries_[i].stack;
      from[i] = {reinterpret_cast<void*>(stack.low), stack.size};
      wanted += stack.size;
    }
    const auto* place = entries_[begin].stack.bytes;
    const iovec to{const_cast<std::byte*>(place), wanted};
    const ssize_t copied = ::process_vm_readv(::getpid(), &to, 1, &from[begin], entries_.size() - begin, 0);
    // The kernel stops at the first one that is not there any more: go on behind that.
    std::size_t left = copied > 0 ? static_cast<std::size_t>(copied) : 0;
    for (; begin < entries_.size() && left >= entries_[begin].stack.size; ++begin) {
      left -= entries_[begin].stack.size;
    }
    if (begin < entries_.size()) entries_[begin++].stack.size = left;
  }
}

StackCopy parked_stack_in_place(std::uintptr_t low, std::uintptr_t high) noexcept {
  if constexpr (CREEL_SANITIZED) return {};
  return {low, reinterpret_cast<const std::byte*>(low), high - low};
}

}  // namespace creel::detail
