#pragma once

#include <creel/runtime/detail/spin_lock.hpp>
#include <creel/runtime/thread.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>

namespace creel {

class ForkJoinPool;
class ForkJoinWorkerThread;

namespace detail {

class ForkJoinCompensation;
class ForkJoinState;
class ForkJoinTaskCore;

/// What lies in the deque of a worker: a branch on the stack of the function that forked it, a ForkJoinTask,
/// or a task that came by execute().
class ForkJoinNode {
 public:
  /// Runs the node and completes it; with no worker, drops it without running. Nothing may touch the node
  /// afterwards.
  using Run = void (*)(ForkJoinNode&, ForkJoinWorkerThread* worker) noexcept;

  explicit ForkJoinNode(Run run) noexcept : run_(run) {}
  ForkJoinNode(const ForkJoinNode&) = delete;
  ForkJoinNode& operator=(const ForkJoinNode&) = delete;

  bool is_done() const noexcept { return is_final(state_.load(std::memory_order_acquire)); }

 protected:
  static constexpr std::uint32_t kPending = 0, kRunning = 1, kDropping = 2, kDone = 3, kFailed = 4,
                                 kCancelled = 5;
  static constexpr std::uint32_t kPhase = 7;         // the bits of the above
  static constexpr std::uint32_t kJoinerSleeps = 8;  // a worker sleeps until this is done
  static bool is_final(std::uint32_t state) noexcept { return (state & kPhase) >= kDone; }

  ~ForkJoinNode() = default;

  const Run run_;
  std::atomic<std::uint32_t> state_{kPending};
  // Id of the thread that took it, for dumps. Relaxed: a joiner that looks while its node is being taken
  // shows no owner.
  std::atomic<const std::atomic<std::uint64_t>*> runner_{nullptr};

 private:
  friend class creel::ForkJoinWorkerThread;
  friend class ForkJoinState;
};

/// What a call gives, as a value that can be kept: std::monostate for void.
template <typename Function>
using ForkJoinValue = std::conditional_t<
    std::is_void_v<typename std::conditional_t<std::is_invocable_v<Function&, ForkJoinWorkerThread&>,
                                               std::invoke_result<Function&, ForkJoinWorkerThread&>,
                                               std::invoke_result<Function&>>::type>,
    std::monostate,
    std::remove_cvref_t<typename std::conditional_t<std::is_invocable_v<Function&, ForkJoinWorkerThread&>,
                                                    std::invoke_result<Function&, ForkJoinWorkerThread&>,
                                                    std::invoke_result<Function&>>::type>>;

/// Calls `function(worker)`, or `function()` if it does not care for the worker.
template <typename Function>
ForkJoinValue<Function> fork_join_call(Function& function, ForkJoinWorkerThread& worker) {
  if constexpr (std::is_invocable_v<Function&, ForkJoinWorkerThread&>) {
    if constexpr (std::is_same_v<ForkJoinValue<Function>, std::monostate>) {
      std::invoke(function, worker);
      return {};
    } else {
      return std::invoke(function, worker);
    }
  } else if constexpr (std::is_same_v<ForkJoinValue<Function>, std::monostate>) {
    std::invoke(function);
    return {};
  } else {
    return std::invoke(function);
  }
}

/// The second half of a fork_join() while it waits on the stack of the first to be taken by a thief.
template <typename Function>
class ForkJoinBranch final : public ForkJoinNode {
 public:
  using Value = ForkJoinValue<Function>;

  explicit ForkJoinBranch(Function& function) noexcept : ForkJoinNode(run), function_(function) {}
  ~ForkJoinBranch() {}  // what a thief has made is taken by take() or drop()

  Value take() {
    if ((state_.load(std::memory_order_relaxed) & kPhase) == kFailed) {
      const std::exception_ptr failure = std::move(failure_);
      failure_.~exception_ptr();
      std::rethrow_exception(failure);
    }
    Value value = std::move(value_);
    value_.~Value();
    return value;
  }
  void drop() noexcept {
    if ((state_.load(std::memory_order_relaxed) & kPhase) == kFailed) {
      failure_.~exception_ptr();
    } else {
      value_.~Value();
    }
  }

 private:
  static void run(ForkJoinNode& node, ForkJoinWorkerThread* worker) noexcept;

  Function& function_;
  // Neither is there unless a thief has run it.
  union {
    Value value_;
    std::exception_ptr failure_;
  };
};

}  // namespace detail

/// A worker of a ForkJoinPool; java.util.concurrent.ForkJoinWorkerThread. Functions that fork get it as a
/// parameter, so that a fork need not look up what thread it is on. Use on its own thread only, except for
/// the counters.
class ForkJoinWorkerThread {
 public:
  ForkJoinWorkerThread(const ForkJoinWorkerThread&) = delete;
  ForkJoinWorkerThread& operator=(const ForkJoinWorkerThread&) = delete;

  /// The calling thread's, if it is a worker of some pool; else nullptr.
  [[gnu::noinline]] static ForkJoinWorkerThread* current() noexcept;

  ForkJoinPool& pool() const noexcept { return pool_; }
  /// From 0, stable while the worker lives.
  std::uint32_t pool_index() const noexcept { return index_; }
  /// How many forks wait here to be joined or stolen, about.
  std::uint32_t queued_task_count() const noexcept {
    const std::uint32_t top = top_.load(std::memory_order_relaxed);
    const std::uint32_t bottom = bottom_.load(std::memory_order_relaxed);
    return top > bottom ? top - bottom : 0;
  }
  /// How many tasks this worker has taken from others.
  std::uint64_t steal_count() const noexcept { return steals_.load(std::memory_order_relaxed); }

  // What follows is for the pool and for fork_join().

  static constexpr std::uint32_t kCapacity = 8192;

  /// Offers a node to thieves; its place, or kCapacity if there is none left.
  std::uint32_t push(detail::ForkJoinNode& node) noexcept {
    const std::uint32_t at = top_.load(std::memory_order_relaxed);
    if (at == kCapacity) [[unlikely]]
      return at;
    slots_[at].store(&node, std::memory_order_relaxed);
    top_.store(at + 1, std::memory_order_release);  // with the slot and the node
    light_fence();                                  // the other side is ForkJoinState::sleep
    if (is_wanted_.load(std::memory_order_relaxed)) [[unlikely]]
      share();
    return at;
  }
  /// Takes back what push() has put at `at`; false if it is gone: then await() it.
  bool pop(detail::ForkJoinNode& node, std::uint32_t at) noexcept {
    if (top_.load(std::memory_order_relaxed) == at + 1) [[likely]] {
      top_.store(at, std::memory_order_relaxed);
      light_fence();  // the other side is steal_from()
      if (bottom_.load(std::memory_order_relaxed) <= at) [[likely]]
        return true;
    }
    return pop_contended(node, at);
  }
  /// Waits until a node is done, running others meanwhile. Not to be interrupted.
  void await(detail::ForkJoinNode& node) noexcept;
  /// The same for one that was pushed at `at`, whose place is then free again.
  void await(detail::ForkJoinNode& node, std::uint32_t at) noexcept;
  /// The last touch of a node that a thief has run.
  void complete(detail::ForkJoinNode& node, bool failed) noexcept;

 private:
  friend class detail::ForkJoinState;
  friend class detail::ForkJoinTaskCore;

  ForkJoinWorkerThread(detail::ForkJoinState& state, ForkJoinPool& pool, std::uint32_t index) noexcept;

  // Between a thread's store and its load of another word. Thieves and sleepers pay for both sides by a fence
  // that the kernel runs on every thread of the process; where it cannot, each side has its own.
  void light_fence() const noexcept {
    if (needs_fence_) [[unlikely]] {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
  }
  [[gnu::noinline]] void share() noexcept;
  [[gnu::noinline]] bool pop_contended(detail::ForkJoinNode& node, std::uint32_t at) noexcept;
  bool pop_top(detail::ForkJoinNode& node) noexcept;
  bool take_back(detail::ForkJoinNode& node) noexcept;
  detail::ForkJoinNode* pop_above(std::uint32_t base) noexcept;
  detail::ForkJoinNode* pop_oldest() noexcept;
  detail::ForkJoinNode* steal() noexcept;
  detail::ForkJoinNode* steal_from(ForkJoinWorkerThread& victim) noexcept;

  // The owner's words; thieves read top_.
  alignas(64) std::atomic<std::uint32_t> top_{0};
  const bool needs_fence_;
  std::uint32_t random_;
  const std::uint32_t index_;
  detail::ForkJoinState& state_;
  ForkJoinPool& pool_;
  // The thieves' words; the owner reads them.
  alignas(64) std::atomic<std::uint32_t> bottom_{0};
  std::atomic<bool> is_wanted_{true};  // somebody would take work, or sleeps
  detail::SpinLock lock_;              // thieves among each other, and the owner when it met one
  alignas(64) std::array<std::atomic<detail::ForkJoinNode*>, kCapacity> slots_;
  // The pool's.
  std::atomic<std::uint64_t> steals_{0};
  Thread thread_;  // guarded by the pool's lock until it has begun
  std::atomic<std::uint64_t> thread_id_{0};
  const detail::ForkJoinNode* awaited_ = nullptr;  // what it sleeps for; guarded by the pool's lock
  std::atomic<bool> is_woken_{false};
};

template <typename Function>
void detail::ForkJoinBranch<Function>::run(ForkJoinNode& node, ForkJoinWorkerThread* worker) noexcept {
  auto& self = static_cast<ForkJoinBranch&>(node);
  bool failed = false;
  try {
    ::new (static_cast<void*>(std::addressof(self.value_))) Value(fork_join_call(self.function_, *worker));
  } catch (...) {
    ::new (static_cast<void*>(std::addressof(self.failure_))) std::exception_ptr(std::current_exception());
    failed = true;
  }
  worker->complete(self, failed);
}

}  // namespace creel
