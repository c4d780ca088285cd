#pragma once

#include <pthread.h>

#include <atomic>
#include <mutex>

namespace creel::detail {

/// An object with threads that all of the process shares: made on first use, never destroyed, and made anew
/// in the child of a fork(), where its threads are not. One per type of `Make`, a stateless callable that
/// gives a new object.
template <typename Object, typename Make>
class ProcessWide {
 public:
  static Object& get() {
    if (Object* object = pointer.load(std::memory_order_acquire)) return *object;
    const std::lock_guard guard{lock};
    if (Object* object = pointer.load(std::memory_order_relaxed)) return *object;
    static const int registered = ::pthread_atfork([] { lock.lock(); }, [] { lock.unlock(); },
                                                   [] {
                                                     pointer.store(nullptr, std::memory_order_relaxed);
                                                     lock.unlock();
                                                   });
    static_cast<void>(registered);
    Object* const made = Make{}();
    pointer.store(made, std::memory_order_release);
    return *made;
  }

 private:
  static inline std::atomic<Object*> pointer{nullptr};
  static inline std::mutex lock;
};

}  // namespace creel::detail
