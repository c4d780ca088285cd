#pragma once

#include <creel/runtime/detail/wait_queue.hpp>
#include <creel/runtime/fork_join_pool.hpp>
#include <creel/runtime/thread_container.hpp>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace creel::detail {

/// What a pool and its workers share. Lock order: `lock_`, then a worker's own.
class ForkJoinState : public std::enable_shared_from_this<ForkJoinState> {
 public:
  ForkJoinState(ForkJoinPool& pool, ForkJoinPool::Options options);
  ~ForkJoinState();

  /// Puts a node where any worker finds it; false after shutdown, unless `from_worker`.
  bool inject(ForkJoinNode& node, bool from_worker);
  /// Takes a node back out; false if it is not there any more.
  bool withdraw(const ForkJoinNode& node) noexcept;

  /// A task that came by ForkJoinPool::execute, on `worker` or (null) from outside; false after shutdown.
  bool execute(Task task, ForkJoinWorkerThread* worker);

  /// Something was forked: a worker that would take it is woken or started. True if there are more of them.
  bool signal_fork() noexcept;
  /// Sleeps until there is work or, if given, `awaited` is done.
  void sleep_until_done(ForkJoinWorkerThread& worker, ForkJoinNode& awaited) noexcept;
  void wake_joiner(const ForkJoinNode* node) noexcept;

  void block_begins() noexcept;
  void block_ends() noexcept;

  void shutdown() noexcept;
  std::vector<Task> shutdown_now();
  bool is_shutdown() const noexcept { return phase_.load() >= Phase::ShutDown; }
  bool is_terminated() const noexcept { return phase_.load() == Phase::Terminated && live_.load() == 0; }
  WaitOutcome await_termination(Deadline deadline, Interruptible interruptible) noexcept;
  bool is_quiescent() const noexcept;
  WaitOutcome await_quiescence(Deadline deadline) noexcept;

  const ForkJoinPool::Options& options() const noexcept { return options_; }
  std::size_t pool_size() const noexcept { return live_.load(); }
  std::size_t running() const noexcept;
  std::size_t injected() const noexcept { return injected_size_.load(); }
  std::size_t queued() const noexcept;
  std::uint64_t steals() const noexcept;

 private:
  friend class creel::ForkJoinWorkerThread;
  enum class Phase : std::uint8_t { Running, ShutDown, Terminated };
  static constexpr std::size_t kMostBlocked = 64;  // how many threads may stand in for blocked ones

  struct Call {
    Thread thread;  // to wake; may be empty
    bool starts = false;
    std::uint32_t start = 0;
  };
  Call choose(bool is_fork) noexcept;
  void make(const Call& call) noexcept;
  void start_worker(std::uint32_t index) noexcept;
  void run(ForkJoinWorkerThread& worker) noexcept;
  ForkJoinNode* find(ForkJoinWorkerThread& worker, std::uint32_t tick) noexcept;
  ForkJoinNode* take_injected() noexcept;
  bool sleep_idle(ForkJoinWorkerThread& worker) noexcept;
  void park(ForkJoinWorkerThread& worker, const ForkJoinNode* awaited) noexcept;
  bool has_work_beside(const ForkJoinWorkerThread& worker) const noexcept;
  void want_work() noexcept;
  bool has_room() const noexcept { return running_ < options_.parallelism + blocked_; }
  void wake(ForkJoinWorkerThread& worker) noexcept;
  void terminate_if_done() noexcept;

  ForkJoinPool& pool_;
  ForkJoinPool::Options options_;
  std::shared_ptr<ThreadContainer> container_;
  std::atomic<Phase> phase_{Phase::Running};
  std::atomic<std::size_t> live_{0};           // threads that have been started and have not ended
  std::atomic<std::size_t> injected_size_{0};  // of injected_
  std::atomic<std::uint32_t> count_{0};        // slots of workers_ that are set
  std::vector<std::atomic<ForkJoinWorkerThread*>> workers_;
  WaitQueue quiet_;
  WaitQueue terminated_;

  mutable SpinLock lock_;  // guards what follows
  std::deque<ForkJoinNode*> injected_;
  std::vector<ForkJoinWorkerThread*> idle_;     // sleep until there is work
  std::vector<ForkJoinWorkerThread*> joiners_;  // sleep until a node is done, and take work meanwhile
  std::size_t running_ = 0;                     // workers that are not in idle_
  std::size_t blocked_ = 0;                     // of those, in a managed block
  std::uint32_t started_ = 0;                   // slots of workers_ that are given away
};

/// While it lives the calling thread blocks: if it is a worker of a pool, another one may run in its place.
class ForkJoinCompensation {
 public:
  ForkJoinCompensation() noexcept;
  ~ForkJoinCompensation();
  ForkJoinCompensation(const ForkJoinCompensation&) = delete;
  ForkJoinCompensation& operator=(const ForkJoinCompensation&) = delete;

 private:
  ForkJoinState* state_ = nullptr;
};

}  // namespace creel::detail
