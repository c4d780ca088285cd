#pragma once

#include <creel/runtime/thread_local.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace creel::detail {

class ThreadRecord;

/// A thread's values by key; open addressing, at most three quarters full. Used by its own thread only, but
/// for the values that a thread is born with, which its maker puts in. Destructors and copies of values are
/// the user's code and may come back to it: it is whole whenever they run.
class ThreadLocalMap {
 public:
  struct Entry {
    std::uint64_t id = 0;  // 0: free
    void* value = nullptr;
    std::shared_ptr<const ThreadLocalKey> key;
  };

  ThreadLocalMap() : entries_(std::size_t{1} << kFirstBits) {}
  ~ThreadLocalMap() { clear(); }
  ThreadLocalMap(const ThreadLocalMap&) = delete;
  ThreadLocalMap& operator=(const ThreadLocalMap&) = delete;

  void* find(std::uint64_t id) const noexcept {
    for (std::size_t i = home(id);; i = next(i)) {
      const Entry& entry = entries_[i];
      if (entry.id == id) return entry.value;
      if (entry.id == 0) return nullptr;
    }
  }
  void store(const std::shared_ptr<const ThreadLocalKey>& key, void* value);
  void remove(std::uint64_t id) noexcept;
  /// Destroys all values, those too that their destructors set meanwhile.
  void clear() noexcept;
  /// Copies those of inheritable variables into the map of a thread that does not run yet.
  void inherit_into(std::unique_ptr<ThreadLocalMap>& child) const;

 private:
  static constexpr unsigned kFirstBits = 3;

  std::size_t home(std::uint64_t id) const noexcept { return static_cast<std::size_t>(id >> (64 - bits_)); }
  std::size_t next(std::size_t i) const noexcept { return (i + 1) & (entries_.size() - 1); }
  std::size_t place_of(std::uint64_t id) const noexcept;
  Entry take(std::size_t i) noexcept;
  std::vector<Entry> make_room();

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
  std::size_t inherited_ = 0;
  unsigned bits_ = kFirstBits;
};

/// Gives `child`, which does not run yet, what it inherits of the calling thread `parent`.
void inherit_thread_locals(const ThreadRecord& parent, ThreadRecord& child);
/// Destroys the values of the calling thread, `self`.
void end_thread_locals(ThreadRecord& self) noexcept;

}  // namespace creel::detail
