#pragma once

#include <creel/runtime/condition.hpp>
#include <creel/runtime/deadline.hpp>
#include <creel/runtime/detail/wait_queue.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace creel {

namespace detail {
struct HoldCounts;
}

/// A lock that many readers or one writer hold; java.util.concurrent.locks.ReentrantReadWriteLock.
///
///     creel::ReentrantReadWriteLock lock{"routes"};
///     { std::shared_lock reading{lock}; return routes.at(name); }
///     { std::unique_lock writing{lock}; routes[name] = target; }
///
/// The lock itself is *Lockable* for writing and *SharedLockable* for reading; read_lock() and write_lock()
/// are the two sides as locks of their own, with the interruptible and timed forms. Both sides are reentrant.
/// The writer may read as well, and go on reading after it has given up writing (downgrading). A reader
/// cannot become the writer: a lock() for writing that would wait for the caller's own read throws Error,
/// where Java waits for ever; try_lock() returns false.
///
/// Fairness: a fair lock serves threads in the order they came, neighbouring readers together. In an unfair
/// one a running thread may go first, except that a reader does not pass a writer that is first in line (one
/// that reads already does), so that writers do not starve. try_lock() without a deadline takes what is free
/// even if others wait. On platform and virtual threads alike.
///
/// In dumps a waiting thread names the writer, or one of the readers, that it waits for; a reader that stands
/// behind a waiting writer names that. Memory effects: what a writer did before it unlocked happens before
/// what later readers and writers do; what a reader did, before what later writers do.
class ReentrantReadWriteLock {
 public:
  enum class Fairness : bool { Unfair, Fair };

  /// The shared side. *Lockable*: `std::scoped_lock reading{lock.read_lock()};`
  class ReadLock {
   public:
    explicit ReadLock(ReentrantReadWriteLock& lock) noexcept : lock_(lock) {}
    ReadLock(const ReadLock&) = delete;
    ReadLock& operator=(const ReadLock&) = delete;
    /// Waits as long as it takes; interrupt() does not end it.
    void lock();
    /// As lock(), but throws InterruptedError when interrupted before or while it waits.
    void lock_interruptibly();
    /// Takes it unless another thread writes.
    bool try_lock();
    /// Waits until `deadline`; returns whether it was taken. Throws InterruptedError.
    bool try_lock(Deadline deadline);
    /// Throws Error if the calling thread does not read.
    void unlock();

   private:
    ReentrantReadWriteLock& lock_;
  };

  /// The exclusive side. *Lockable*; has conditions: `creel::Condition changed{lock.write_lock()};`
  class WriteLock {
   public:
    explicit WriteLock(ReentrantReadWriteLock& lock) noexcept : lock_(lock) {}
    WriteLock(const WriteLock&) = delete;
    WriteLock& operator=(const WriteLock&) = delete;
    /// Waits as long as it takes; interrupt() does not end it. Throws Error if the caller only reads.
    void lock();
    /// As lock(), but throws InterruptedError when interrupted before or while it waits.
    void lock_interruptibly();
    /// Takes it if nobody else reads or writes.
    bool try_lock();
    /// Waits until `deadline`; returns whether it was taken. Throws InterruptedError.
    bool try_lock(Deadline deadline);
    /// Throws Error if the calling thread does not write.
    void unlock();
    /// A new condition of this lock. A thread that also reads cannot wait on it (Error): nobody could come in
    /// to signal.
    Condition condition(std::string name = {});
    bool is_held_by_current_thread() const noexcept;
    /// How often the calling thread has taken it.
    std::uint32_t hold_count() const noexcept { return lock_.write_hold_count(); }
    operator detail::ConditionLock() noexcept;  // NOLINT: what makes Condition{lock.write_lock()} work

   private:
    ReentrantReadWriteLock& lock_;
  };

  /// The name stands in dumps; it may be empty.
  explicit ReentrantReadWriteLock(std::string name = {}, Fairness fairness = Fairness::Unfair);
  explicit ReentrantReadWriteLock(Fairness fairness) : ReentrantReadWriteLock({}, fairness) {}
  ~ReentrantReadWriteLock();
  ReentrantReadWriteLock(const ReentrantReadWriteLock&) = delete;
  ReentrantReadWriteLock& operator=(const ReentrantReadWriteLock&) = delete;

  ReadLock& read_lock() noexcept { return read_lock_; }
  WriteLock& write_lock() noexcept { return write_lock_; }

  void lock();      ///< write_lock().lock()
  bool try_lock();  ///< write_lock().try_lock()
  bool try_lock(Deadline deadline);
  void unlock();           ///< write_lock().unlock()
  void lock_shared();      ///< read_lock().lock()
  bool try_lock_shared();  ///< read_lock().try_lock()
  bool try_lock_shared(Deadline deadline);
  void unlock_shared();  ///< read_lock().unlock()

  bool is_fair() const noexcept { return fair_; }
  /// How many times it is held for reading, by all threads; a snapshot.
  std::uint64_t read_lock_count() const noexcept { return word_.load(std::memory_order_relaxed) / kReader; }
  bool is_write_locked() const noexcept { return (word_.load(std::memory_order_relaxed) & kWriter) != 0; }
  bool is_write_locked_by_current_thread() const noexcept;
  /// How often the calling thread holds the one side and the other.
  std::uint32_t read_hold_count() const noexcept;
  std::uint32_t write_hold_count() const noexcept;
  bool has_queued_threads() const noexcept { return !queue_.empty(); }
  bool has_queued_thread(const Thread& thread) const;
  /// How many threads wait for either side, about: they come and go.
  std::uint32_t queue_length() const noexcept { return queue_.size(); }
  /// Who waits on a condition of write_lock(), which the caller must hold; Error if not, or if it is
  /// another lock's.
  bool has_waiters(const Condition& condition) const { return wait_queue_length(condition) > 0; }
  std::uint32_t wait_queue_length(const Condition& condition) const;
  std::string to_string() const;

 private:
  using WaitOutcome = detail::WaitOutcome;
  using Interruptible = detail::Interruptible;

  // The word: somebody may wait; the first in line is a writer; somebody writes; 8 × holds for reading.
  static constexpr std::uint64_t kWaiters = 1, kWriterFirst = 2, kWriter = 4, kReader = 8;

  bool take_read(std::uint64_t closed) noexcept;
  bool take_write() noexcept;
  WaitOutcome acquire_read(std::uintptr_t stack_pointer, Deadline deadline, Interruptible interruptible);
  WaitOutcome acquire_write(std::uintptr_t stack_pointer, Deadline deadline, Interruptible interruptible);
  WaitOutcome wait_to_read(Deadline deadline, Interruptible interruptible) noexcept;
  /// `is_queued`: somebody has put the thread into the queue.
  WaitOutcome wait_to_write(detail::ThreadRecord& self, Deadline deadline, Interruptible interruptible,
                            bool is_queued = false) noexcept;
  bool try_read(std::uintptr_t stack_pointer);
  bool try_write(std::uintptr_t stack_pointer);
  void took_read(detail::ThreadRecord& self, std::uintptr_t stack_pointer);
  void took_write(detail::ThreadRecord& self, std::uint32_t holds, std::uintptr_t stack_pointer) noexcept;
  void release_read();
  void release_write();
  std::uintptr_t give_up_write(detail::ThreadRecord& self) noexcept;
  void give_back(std::uint64_t what) noexcept;
  void name_another_reader(std::uint64_t leaving) noexcept;
  bool writes(const detail::ThreadRecord& self) const noexcept;
  detail::ThreadRecord& check_writer(const char* operation) const;
  std::string described() const;
  [[noreturn]] void throw_too_many(std::uint32_t holds) const;
  Blocker blocker(bool reading) const noexcept;

  friend struct ReadWriteConditions;
  friend struct detail::HoldCounts;  // of a test, which cannot lock so often
  WaitOutcome wait(detail::ConditionList& list, const Blocker& blocker, Deadline deadline,
                   Interruptible interruptible);
  void notify_one(detail::ConditionList& list);

  std::atomic<std::uint64_t> word_{0};
  std::atomic<std::uint64_t> writer_{0};      // id of the thread that writes; 0: none
  std::atomic<std::uint64_t> read_gate_{0};   // for dumps: the thread that a waiting reader waits for
  std::atomic<std::uint64_t> write_gate_{0};  // and a waiting writer: one of those that hold it
  std::array<std::atomic<std::uint64_t>, 4>
      readers_{};                  // some of the readers, to name another when one leaves
  std::uint32_t write_holds_ = 0;  // the writer's
  detail::WaitQueue queue_;
  const bool fair_;
  const std::string name_;
  ReadLock read_lock_{*this};
  WriteLock write_lock_{*this};
};

}  // namespace creel
