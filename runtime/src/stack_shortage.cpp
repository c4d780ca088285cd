#include "stack_shortage.hpp"

#include <mutex>

namespace creel::detail {

void StackShortage::add(VirtualThread& thread) noexcept {
  const std::lock_guard guard{lock_};
  thread.link = nullptr;
  (tail_ != nullptr ? tail_->link : head_) = &thread;
  tail_ = &thread;
  count_.fetch_add(1, std::memory_order_relaxed);
}

// Under lock_.
template <typename Matches>
VirtualThread* StackShortage::unlink(Matches matches) noexcept {
  VirtualThread* before = nullptr;
  VirtualThread* thread = head_;
  for (; thread != nullptr && !matches(*thread); thread = thread->link) before = thread;
  if (thread == nullptr) return nullptr;
  (before != nullptr ? before->link : head_) = thread->link;
  if (tail_ == thread) tail_ = before;
  count_.fetch_sub(1, std::memory_order_relaxed);
  return thread;
}

VirtualThread* StackShortage::take(std::size_t bytes) noexcept {
  const std::lock_guard guard{lock_};
  // Until it has a stack, stack_low is how large a one it wants.
  VirtualThread* thread = unlink([bytes](const VirtualThread& waiting) {
    return waiting.stack_low.load(std::memory_order_relaxed) <= bytes;
  });
  return thread != nullptr ? thread : unlink([](const VirtualThread&) { return true; });
}

bool StackShortage::remove(const VirtualThread& thread) noexcept {
  const std::lock_guard guard{lock_};
  return unlink([&](const VirtualThread& waiting) { return &waiting == &thread; }) != nullptr;
}

}  // namespace creel::detail
