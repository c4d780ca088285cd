#pragma once

#include <creel/runtime/detail/spin_lock.hpp>

#include <cstddef>
#include <mutex>
#include <new>

namespace creel::detail {

/// Allocator that keeps a few thousand freed objects for the next: virtual threads come and go faster than
/// malloc gives a kilobyte from one thread to another. Sanitizers see every allocation.
template <typename T>
class RecordAllocator {
 public:
  using value_type = T;

  RecordAllocator() noexcept = default;
  template <typename U>
  RecordAllocator(const RecordAllocator<U>&) noexcept {}  // NOLINT: allocators convert

  T* allocate(std::size_t count) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (count == 1) {
      if (void* kept = pool().take()) return static_cast<T*>(kept);
    }
#endif
    return static_cast<T*>(::operator new(count * sizeof(T)));
  }

  void deallocate(T* object, [[maybe_unused]] std::size_t count) noexcept {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (count == 1 && pool().keep(object)) return;
#endif
    ::operator delete(object);
  }

  friend bool operator==(const RecordAllocator&, const RecordAllocator&) noexcept { return true; }

 private:
  static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__);

  struct Link {
    Link* next;
  };
  // Nobody waits for it: who finds it in use (for ever, in a child forked at the wrong moment) goes to
  // malloc.
  class Pool {
   public:
    void* take() noexcept {
      const std::unique_lock guard{lock_, std::try_to_lock};
      if (!guard || free_ == nullptr) return nullptr;
      Link* link = free_;
      free_ = link->next;
      --count_;
      return link;
    }
    bool keep(void* object) noexcept {
      const std::unique_lock guard{lock_, std::try_to_lock};
      if (!guard || count_ >= kMost) return false;
      free_ = ::new (object) Link{free_};
      ++count_;
      return true;
    }

   private:
    static constexpr std::size_t kMost = 16'384;
    SpinLock lock_;
    Link* free_ = nullptr;
    std::size_t count_ = 0;
  };
  static Pool& pool() noexcept {
    static Pool* kept = new Pool;  // never freed: threads may end after the last static destructor
    return *kept;
  }
};

}  // namespace creel::detail
