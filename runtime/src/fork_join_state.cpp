#include "fork_join_state.hpp"

#include "asymmetric_fence.hpp"
#include "container_scope.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <sched.h>

#include <algorithm>
#include <memory>

namespace creel {
namespace detail {

void set_current_fork_join_worker(ForkJoinWorkerThread* worker) noexcept;
bool look_again(int& rounds) noexcept;

namespace {

constexpr std::size_t kMostThreads = ForkJoinPool::kMostThreads;

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
  Call call;
  {
    const std::lock_guard guard{lock_};
    if (phase_.load() != Phase::Running && !from_worker) return false;
    injected_.push_back(&node);
    injected_size_.store(injected_.size());
    call = choose(false);  // who is about to sleep looks under the same lock
  }
  make(call);
  if (live_.load() == 0 && withdraw(node))  // no thread could be started
    throw RejectedError("fork-join pool \"" + options_.name +
                        "\" takes no task: it has no thread and cannot start one");
  return true;
}

bool ForkJoinState::execute(Task task, ForkJoinWorkerThread* worker) {
  auto node = std::make_unique<SubmittedTask>(std::move(task));
  const bool is_pushed = worker != nullptr && worker->push(*node) != ForkJoinWorkerThread::kCapacity;
  if (!is_pushed && !inject(*node, worker != nullptr)) return false;
  static_cast<void>(node.release());  // it frees itself when it has run
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

// Whom new work calls, with lock_ held. Only forks call those that wait in a join.
ForkJoinState::Call ForkJoinState::choose(bool is_fork) noexcept {
  Call call;
  std::vector<ForkJoinWorkerThread*>* sleepers = nullptr;
  if (has_room() && !idle_.empty()) {
    sleepers = &idle_;
    ++running_;
  } else if (has_room() && started_ < workers_.size()) {
    ++running_;
    live_.fetch_add(1);
    call.start = started_++;
    call.starts = true;
  } else if (is_fork && !joiners_.empty()) {
    sleepers = &joiners_;
  }
  if (sleepers != nullptr) {
    call.thread = sleepers->back()->thread_;
    wake(*sleepers->back());
    sleepers->pop_back();
  }
  return call;
}

void ForkJoinState::make(const Call& call) noexcept {
  LockSupport::unpark(call.thread);
  if (call.starts) start_worker(call.start);
}

bool ForkJoinState::signal_fork() noexcept {
  Call call;
  bool are_more = false;
  {
    const std::lock_guard guard{lock_};
    call = choose(true);
    are_more = !joiners_.empty() || (has_room() && (!idle_.empty() || started_ < workers_.size()));
  }
  make(call);
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
    blocker = {.object = awaited,
               .type = "creel::ForkJoinTask",
               .owner = awaited->runner_.load(std::memory_order_relaxed)};
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
    start_in(*container_, options_.factory, [self = shared_from_this(), worker] { self->run(*worker); });
  } catch (const std::exception& e) {
    // With fewer threads than wished for it goes on, unless this was the first: see inject().
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
      node->runner_.store(&worker.thread_id_, std::memory_order_relaxed);
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
  signal_fork();
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

ForkJoinCompensation::ForkJoinCompensation() noexcept {
  if (const ForkJoinWorkerThread* worker = ForkJoinWorkerThread::current()) {
    state_ = worker->pool().state_.get();
    state_->block_begins();
  }
}

ForkJoinCompensation::~ForkJoinCompensation() {
  if (state_ != nullptr) state_->block_ends();
}

}  // namespace detail
}  // namespace creel
