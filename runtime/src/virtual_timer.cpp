#include "virtual_timer.hpp"

#include <creel/runtime/lock_support.hpp>

#include <algorithm>

namespace creel::detail {

void VirtualTimer::place(std::uint32_t index, Entry entry) noexcept {
  heap_[index] = entry;
  entry.thread->timer_index = index;
}

void VirtualTimer::sift_up(std::uint32_t index) noexcept {
  const Entry moving = heap_[index];
  while (index > 0) {
    const std::uint32_t parent = (index - 1) / kArity;
    if (heap_[parent].deadline <= moving.deadline) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, moving);
}

void VirtualTimer::sift_down(std::uint32_t index) noexcept {
  const Entry moving = heap_[index];
  const auto size = static_cast<std::uint32_t>(heap_.size());
  for (;;) {
    const std::uint32_t first = index * kArity + 1;
    if (first >= size) break;
    const std::uint32_t last = std::min(first + kArity, size);
    std::uint32_t least = first;
    for (std::uint32_t child = first + 1; child < last; ++child) {
      if (heap_[child].deadline < heap_[least].deadline) least = child;
    }
    if (moving.deadline <= heap_[least].deadline) break;
    place(index, heap_[least]);
    index = least;
  }
  place(index, moving);
}

void VirtualTimer::erase(std::uint32_t index) noexcept {
  heap_[index].thread->timer_index = VirtualThread::kNotTimed;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size()) return;
  place(index, last);
  sift_up(index);
  sift_down(last.thread->timer_index);
}

void VirtualTimer::add(VirtualThread& thread, Deadline deadline) {
  bool is_first = false;
  {
    const std::lock_guard guard{lock_};
    if (!started_) {
      started_ = true;
      thread_ = Thread::of_platform().name("virtual-thread-timer").daemon().start([this] { run(); });
    }
    heap_.push_back({deadline, &thread});
    sift_up(static_cast<std::uint32_t>(heap_.size() - 1));
    is_first = thread.timer_index == 0;
  }
  if (is_first) LockSupport::unpark(thread_);
}

void VirtualTimer::remove(VirtualThread& thread) noexcept {
  const std::lock_guard guard{lock_};
  if (thread.timer_index != VirtualThread::kNotTimed) erase(thread.timer_index);
}

void VirtualTimer::run() noexcept {
  const Blocker blocker{this, "creel::VirtualTimer"};
  for (;;) {
    Deadline next;
    {
      const std::lock_guard guard{lock_};
      while (!heap_.empty() && heap_.front().deadline.expired()) {
        VirtualThread& thread = *heap_.front().thread;
        erase(0);
        // Under the lock: remove() is how the thread knows that we are done with it.
        LockSupport::unpark(thread);
      }
      if (!heap_.empty()) next = heap_.front().deadline;
    }
    LockSupport::park(blocker, next);
  }
}

}  // namespace creel::detail
