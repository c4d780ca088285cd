#include "asymmetric_fence.hpp"
#include "container_scope.hpp"
#include "fork_join_state.hpp"
#include "scope_exit.hpp"

#include <creel/runtime/fork_join_task.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace creel {
namespace detail {

void set_current_fork_join_worker(ForkJoinWorkerThread* worker) noexcept;
bool look_again(int& rounds) noexcept;

namespace {

constexpr std::size_t kMostThreads = 256;

// A task that came by execute(): frees itself.
class SubmittedTask final : public ForkJoinNode {
 public:
  explicit SubmittedTask(Task task) noexcept : ForkJoinNode(run), task_(std::move(task)) {}

  static void run(ForkJoinNode& node, ForkJoinWorkerThread* worker) noexcept {
    const std::unique_ptr<SubmittedTask> self(static_cast<SubmittedTask*>(&node));
    if (worker == nullptr) return;
    try {
      self->task_();
    } catch (const std::exception& e) {
      log::error("fork_join.uncaught", {{"pool", worker->pool().name()}, {"what", e.what()}});
    } catch (...) {
      log::error("fork_join.uncaught", {{"pool", worker->pool().name()}, {"what", "no std::exception"}});
    }
  }
  Task take() noexcept { return std::move(task_); }

 private:
  Task task_;
};

std::size_t processors() noexcept {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return std::clamp<std::size_t>(static_cast<std::size_t>(CPU_COUNT(&allowed)), 1, kMostThreads);
}

std::size_t common_parallelism() noexcept {
  if (const char* text = std::getenv("CREEL_COMMON_PARALLELISM"); text != nullptr) {
    std::size_t count = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), count);
    if (error == std::errc{} && *end == '\0' && count >= 1 && count <= kMostThreads) return count;
    log::warn("fork_join.bad_environment", {{"CREEL_COMMON_PARALLELISM", text}, {"allowed", "1 to 256"}});
  }
  return processors();
}

std::string next_pool_name() {
  static std::atomic<std::uint64_t> next{1};
  return "fork-join-" + std::to_string(next.fetch_add(1, std::memory_order_relaxed));
}

ForkJoinPool::Options completed(ForkJoinPool::Options options) {
  if (options.parallelism > kMostThreads) {
    throw Error("a fork-join pool of parallelism " + std::to_string(options.parallelism) + "; use at most " +
                std::to_string(kMostThreads));
  }
  if (options.parallelism == 0) options.parallelism = processors();
  if (options.name.empty()) options.name = next_pool_name();
  if (!options.factory)
    options.factory = Thread::of_platform().name(options.name + "-", 0).daemon().factory();
  return options;
}

}  // namespace

ForkJoinState::ForkJoinState(ForkJoinPool& pool, ForkJoinPool::Options options)
    : pool_(pool),
      options_(completed(std::move(options))),
      container_(ThreadContainer::create(options_.name, "creel::ForkJoinPool")),
      workers_(options_.parallelism + kMostBlocked) {
  idle_.reserve(workers_.size());
  joiners_.reserve(workers_.size());
}

ForkJoinState::~ForkJoinState() {
  for (const auto& worker : workers_) delete worker.load();
}

bool ForkJoinState::inject(ForkJoinNode& node, bool from_worker) {
  {
    const std::lock_guard guard{lock_};
    if (phase_.load() != Phase::Running && !from_worker) return false;
    injected_.push_back(&node);
    injected_size_.store(injected_.size());
  }
  signal_work();
  return true;
}

bool ForkJoinState::withdraw(const ForkJoinNode& node) noexcept {
  if (injected_size_.load() == 0) return false;
  const std::lock_guard guard{lock_};
  const auto at = std::find(injected_.begin(), injected_.end(), &node);
  if (at == injected_.end()) return false;
  injected_.erase(at);
  injected_size_.store(injected_.size());
  return true;
}

ForkJoinNode* ForkJoinState::take_injected() noexcept {
  if (injected_size_.load() == 0) return nullptr;
  const std::lock_guard guard{lock_};
  if (injected_.empty()) return nullptr;
  ForkJoinNode* node = injected_.front();
  injected_.pop_front();
  injected_size_.store(injected_.size());
  return node;
}

bool ForkJoinState::signal_work() noexcept {
  Thread woken;
  std::uint32_t to_start = 0;
  bool starts = false;
  bool are_more = false;
  {
    const std::lock_guard guard{lock_};
    if (has_room() && (!idle_.empty() || started_ < workers_.size())) {
      ++running_;
      if (!idle_.empty()) {
        woken = idle_.back()->thread_;
        wake(*idle_.back());
        idle_.pop_back();
      } else {
        starts = true;
        to_start = started_++;
        live_.fetch_add(1);
      }
    } else if (!joiners_.empty()) {
      woken = joiners_.back()->thread_;
      wake(*joiners_.back());
      joiners_.pop_back();
    }
    are_more = !joiners_.empty() || (has_room() && (!idle_.empty() || started_ < workers_.size()));
  }
  LockSupport::unpark(woken);
  if (starts) start_worker(to_start);
  return are_more;
}

void ForkJoinState::wake(ForkJoinWorkerThread& worker) noexcept {
  worker.awaited_ = nullptr;
  worker.is_woken_.store(true, std::memory_order_release);
}

void ForkJoinState::wake_joiner(const ForkJoinNode* node) noexcept {
  std::vector<Thread> woken;  // a ForkJoinTask may have several
  {
    const std::lock_guard guard{lock_};
    std::erase_if(joiners_, [&](ForkJoinWorkerThread* worker) {
      if (worker->awaited_ != node) return false;
      woken.push_back(worker->thread_);
      wake(*worker);
      return true;
    });
  }
  for (const Thread& thread : woken) LockSupport::unpark(thread);
}

// Makes every worker look for sleepers at its next fork.
void ForkJoinState::want_work() noexcept {
  const std::uint32_t count = count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (ForkJoinWorkerThread* worker = workers_[i].load(std::memory_order_acquire)) {
      worker->is_wanted_.store(true, std::memory_order_relaxed);
    }
  }
}

bool ForkJoinState::has_work_beside(const ForkJoinWorkerThread& worker) const noexcept {
  const std::uint32_t count = count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    const ForkJoinWorkerThread* other = workers_[i].load(std::memory_order_acquire);
    if (other != nullptr && other != &worker && other->queued_task_count() > 0) return true;
  }
  return false;
}

void ForkJoinState::sleep_until_done(ForkJoinWorkerThread& worker, ForkJoinNode& awaited) noexcept {
  {
    const std::lock_guard guard{lock_};
    const std::uint32_t state =
        awaited.state_.fetch_or(ForkJoinNode::kJoinerSleeps, std::memory_order_acq_rel);
    if (ForkJoinNode::is_final(state)) return;
    worker.awaited_ = &awaited;
    worker.is_woken_.store(false, std::memory_order_relaxed);
    joiners_.push_back(&worker);
  }
  want_work();
  asymmetric_heavy_fence();  // who forks from now on sees that; forks of before are seen here
  if (has_work_beside(worker)) {
    const std::lock_guard guard{lock_};
    std::erase(joiners_, &worker);
    return;
  }
  park(worker, &awaited);
}

// False if the pool has ended.
bool ForkJoinState::sleep_idle(ForkJoinWorkerThread& worker) noexcept {
  {
    const std::lock_guard guard{lock_};
    if (!injected_.empty()) return true;
    worker.is_woken_.store(false, std::memory_order_relaxed);
    idle_.push_back(&worker);
    --running_;
    terminate_if_done();
    if (phase_.load() == Phase::Terminated) return false;
  }
  quiet_.change_and_wake_all([] {});
  want_work();
  asymmetric_heavy_fence();  // as above
  if (has_work_beside(worker)) {
    const std::lock_guard guard{lock_};
    if (std::erase(idle_, &worker) != 0) ++running_;
    return phase_.load() != Phase::Terminated;
  }
  park(worker, nullptr);
  return phase_.load() != Phase::Terminated;
}

void ForkJoinState::park(ForkJoinWorkerThread& worker, const ForkJoinNode* awaited) noexcept {
  bool interrupted = false;
  Blocker blocker{.object = this, .type = "creel::ForkJoinPool", .name = options_.name.c_str()};
  if (awaited != nullptr) {
    blocker = {.object = awaited, .type = "creel::ForkJoinTask", .owner = awaited->runner_};
  }
  while (!worker.is_woken_.load(std::memory_order_acquire)) {
    if (Thread::interrupted()) interrupted = true;  // park() would return at once while the flag is set
    LockSupport::park(blocker);
  }
  // An idle worker has no task that it could be meant for.
  if (interrupted && awaited != nullptr) worker.thread_.interrupt();
}

void ForkJoinState::start_worker(std::uint32_t index) noexcept {
  auto* worker = new ForkJoinWorkerThread(*this, pool_, index);
  workers_[index].store(worker, std::memory_order_release);
  for (std::uint32_t count = count_.load(); count <= index;) {
    if (count_.compare_exchange_weak(count, index + 1)) break;
  }
  try {
    const ContainerScope scope{*container_};
    options_.factory([self = shared_from_this(), worker] { self->run(*worker); });
  } catch (const std::exception& e) {
    // With fewer threads than wished for it goes on, unless this was the first: then tasks wait for the next
    // one.
    log::error("fork_join.no_thread", {{"pool", options_.name}, {"what", e.what()}});
    const std::lock_guard guard{lock_};
    --running_;
    live_.fetch_sub(1);
    terminate_if_done();
  }
}

ForkJoinNode* ForkJoinState::find(ForkJoinWorkerThread& worker, std::uint32_t tick) noexcept {
  if (tick % 61 == 0) {  // a stream of forks must not keep tasks from outside waiting for ever
    if (ForkJoinNode* node = take_injected()) return node;
  }
  ForkJoinNode* node = options_.async ? worker.pop_oldest() : worker.pop_above(0);
  if (node == nullptr) node = worker.steal();
  if (node == nullptr) node = take_injected();
  return node;
}

void ForkJoinState::run(ForkJoinWorkerThread& worker) noexcept {
  {
    const std::lock_guard guard{lock_};
    worker.thread_ = Thread::current();
  }
  worker.thread_id_.store(worker.thread_.id(), std::memory_order_relaxed);
  set_current_fork_join_worker(&worker);
  int rounds = 0;
  for (std::uint32_t tick = 1;; ++tick) {
    if (ForkJoinNode* node = find(worker, tick)) {
      node->runner_ = &worker.thread_id_;
      node->run_(*node, &worker);
      // An interrupt that was meant for the task before must not hit the next one.
      Thread::interrupted();
      rounds = 0;
    } else if (!look_again(rounds)) {
      if (!sleep_idle(worker)) break;
      rounds = 0;
    }
  }
  set_current_fork_join_worker(nullptr);
  terminated_.change_and_wake_all([this] { live_.fetch_sub(1); });
}

// With lock_ held.
void ForkJoinState::terminate_if_done() noexcept {
  if (phase_.load() != Phase::ShutDown || running_ != 0 || !injected_.empty()) return;
  phase_.store(Phase::Terminated);
  for (ForkJoinWorkerThread* worker : idle_) {
    wake(*worker);
    LockSupport::unpark(worker->thread_);
  }
  idle_.clear();
}

void ForkJoinState::shutdown() noexcept {
  {
    const std::lock_guard guard{lock_};
    Phase running = Phase::Running;
    phase_.compare_exchange_strong(running, Phase::ShutDown);
    terminate_if_done();
  }
  terminated_.change_and_wake_all([] {});
}

std::vector<Task> ForkJoinState::shutdown_now() {
  std::deque<ForkJoinNode*> dropped;
  std::vector<Thread> interrupted;
  {
    const std::lock_guard guard{lock_};
    dropped.swap(injected_);
    injected_size_.store(0);
    const std::uint32_t count = count_.load();
    for (std::uint32_t i = 0; i < count; ++i) {
      const ForkJoinWorkerThread* worker = workers_[i].load();
      if (worker != nullptr && worker->thread_) interrupted.push_back(worker->thread_);
    }
  }
  shutdown();
  for (const Thread& thread : interrupted) thread.interrupt();
  std::vector<Task> tasks;
  for (ForkJoinNode* node : dropped) {
    if (node->run_ == SubmittedTask::run) tasks.push_back(static_cast<SubmittedTask*>(node)->take());
    node->run_(*node, nullptr);
  }
  return tasks;
}

WaitOutcome ForkJoinState::await_termination(Deadline deadline, Interruptible interruptible) noexcept {
  const Blocker blocker{this, "creel::ForkJoinPool", options_.name.c_str(), nullptr};
  return terminated_.await(blocker, deadline, interruptible, WaitQueue::Order::Any,
                           [this] { return is_terminated(); });
}

bool ForkJoinState::is_quiescent() const noexcept {
  const std::lock_guard guard{lock_};
  return running_ == 0 && injected_.empty();
}

WaitOutcome ForkJoinState::await_quiescence(Deadline deadline) noexcept {
  const Blocker blocker{this, "creel::ForkJoinPool", options_.name.c_str(), nullptr};
  return quiet_.await(blocker, deadline, Interruptible::Yes, WaitQueue::Order::Any,
                      [this] { return is_quiescent(); });
}

void ForkJoinState::block_begins() noexcept {
  {
    const std::lock_guard guard{lock_};
    if (blocked_ < kMostBlocked) ++blocked_;
  }
  want_work();
  signal_work();
}

void ForkJoinState::block_ends() noexcept {
  const std::lock_guard guard{lock_};
  if (blocked_ > 0) --blocked_;
}

std::size_t ForkJoinState::running() const noexcept {
  const std::lock_guard guard{lock_};
  return running_;
}

std::size_t ForkJoinState::queued() const noexcept {
  std::size_t sum = 0;
  for (const auto& slot : workers_) {
    if (const ForkJoinWorkerThread* worker = slot.load()) sum += worker->queued_task_count();
  }
  return sum;
}

std::uint64_t ForkJoinState::steals() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& slot : workers_) {
    if (const ForkJoinWorkerThread* worker = slot.load()) sum += worker->steal_count();
  }
  return sum;
}

}  // namespace detail

namespace {
const ForkJoinPool* common_pool = nullptr;
}

ForkJoinPool::ForkJoinPool(Options options)
    : state_(std::make_shared<detail::ForkJoinState>(*this, std::move(options))) {}

ForkJoinPool::~ForkJoinPool() {
  state_->shutdown();
  state_->await_termination({}, detail::Interruptible::No);
}

ForkJoinPool& ForkJoinPool::common() {
  static ForkJoinPool* const pool = [] {  // never freed: its workers run until the process ends
    auto* made = new ForkJoinPool({.parallelism = detail::common_parallelism(), .name = "common"});
    common_pool = made;
    return made;
  }();
  return *pool;
}

ForkJoinWorkerThread* ForkJoinPool::own_worker() noexcept {
  ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current();
  return worker != nullptr && &worker->pool() == this ? worker : nullptr;
}

void ForkJoinPool::Invocation::finish(bool cancelled) noexcept {
  queue_.change_and_wake_all(
      [&] { state_.store(cancelled ? kCancelled : kDone, std::memory_order_release); });
}

void ForkJoinPool::run_and_wait(Invocation& invocation) {
  if (!state_->inject(invocation, false)) {
    throw RejectedError("the fork-join pool \"" + name() + "\" is shut down");
  }
  const Blocker blocker{&invocation, "creel::ForkJoinTask", name().c_str(), nullptr};
  invocation.queue_.await(blocker, {}, detail::Interruptible::No, detail::WaitQueue::Order::Any,
                          [&] { return invocation.is_done(); });
  if (invocation.state_.load(std::memory_order_acquire) == Invocation::kCancelled) {
    throw CancelledError("the fork-join pool \"" + name() + "\" was shut down before the call began");
  }
}

void ForkJoinPool::execute(Task task) {
  auto node = std::make_unique<detail::SubmittedTask>(std::move(task));
  ForkJoinWorkerThread* worker = own_worker();
  if (worker != nullptr && worker->push(*node) != ForkJoinWorkerThread::kCapacity) {
    node.release();  // NOLINT: it frees itself
    return;
  }
  if (!state_->inject(*node, worker != nullptr)) {
    throw RejectedError("the fork-join pool \"" + name() + "\" takes no task: it is shut down");
  }
  node.release();  // NOLINT
}

void ForkJoinPool::execute(detail::ForkJoinTaskCore& task) {
  if (own_worker() != nullptr) return task.fork_here();
  task.pool_ = state_.get();
  if (state_->inject(task, false)) return;
  task.pool_ = nullptr;
  throw RejectedError("the fork-join pool \"" + name() + "\" takes no task: it is shut down");
}

void ForkJoinPool::shutdown() {
  if (this != common_pool) state_->shutdown();
}

std::vector<Task> ForkJoinPool::shutdown_now() {
  if (this == common_pool) return {};
  return state_->shutdown_now();
}

bool ForkJoinPool::is_shutdown() const noexcept { return state_->is_shutdown(); }
bool ForkJoinPool::is_terminated() const noexcept { return state_->is_terminated(); }

bool ForkJoinPool::await_termination(Deadline deadline) {
  const auto outcome = state_->await_termination(deadline, detail::Interruptible::Yes);
  if (outcome == detail::WaitOutcome::Interrupted) {
    throw InterruptedError("interrupted while waiting for the end of fork-join pool \"" + name() + "\"");
  }
  return outcome == detail::WaitOutcome::Met;
}

bool ForkJoinPool::is_quiescent() const noexcept { return state_->is_quiescent(); }

bool ForkJoinPool::await_quiescence(Deadline deadline) {
  if (own_worker() != nullptr) {
    throw Error("a worker of fork-join pool \"" + name() + "\" would wait for its own task to end");
  }
  const auto outcome = state_->await_quiescence(deadline);
  if (outcome == detail::WaitOutcome::Interrupted) {
    throw InterruptedError("interrupted while waiting for fork-join pool \"" + name() + "\" to become quiet");
  }
  return outcome == detail::WaitOutcome::Met;
}

void ForkJoinPool::managed_block(ManagedBlocker& blocker) {
  const ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current();
  if (blocker.is_releasable()) return;
  if (worker != nullptr) worker->pool().state_->block_begins();
  const detail::ScopeExit at_end([&] {
    if (worker != nullptr) worker->pool().state_->block_ends();
  });
  while (!blocker.is_releasable() && !blocker.block()) {
  }
}

std::size_t ForkJoinPool::parallelism() const noexcept { return state_->options().parallelism; }
bool ForkJoinPool::is_async() const noexcept { return state_->options().async; }
const std::string& ForkJoinPool::name() const noexcept { return state_->options().name; }
std::size_t ForkJoinPool::pool_size() const noexcept { return state_->pool_size(); }
std::size_t ForkJoinPool::running_thread_count() const noexcept { return state_->running(); }
std::uint64_t ForkJoinPool::steal_count() const noexcept { return state_->steals(); }
std::size_t ForkJoinPool::queued_task_count() const noexcept { return state_->queued(); }
std::size_t ForkJoinPool::queued_submission_count() const noexcept { return state_->injected(); }

}  // namespace creel
