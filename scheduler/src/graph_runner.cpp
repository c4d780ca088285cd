#include <creel/runtime/error.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_container.hpp>
#include <creel/scheduler/graph_runner.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

namespace creel::scheduler {
namespace {

std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Deadline::Clock::now().time_since_epoch())
      .count();
}

double seconds(std::int64_t ns) noexcept { return static_cast<double>(ns) * 1e-9; }

}  // namespace

struct GraphRunner::State {
  // A stage at work: what the graph says of it, its channels and the counts of its workers.
  struct Running {
    StageInfo info;
    std::shared_ptr<ChannelBase> input;
    std::shared_ptr<ChannelBase> output;
    std::unique_ptr<Stage> stage;
    std::vector<WorkerMeter> meters;
    std::vector<Thread> threads;
    std::atomic<std::size_t> to_start{0};
    std::atomic<std::size_t> to_end{0};
    std::atomic<std::int64_t> ended_ns{0};
  };

  std::string name;
  Hooks hooks;
  std::vector<std::shared_ptr<ChannelBase>> channels;
  std::vector<bool> open_ended;  // of each channel: the caller takes from it
  std::vector<std::unique_ptr<Running>> stages;
  std::atomic<std::int64_t> started_ns{0};

  mutable std::mutex lock;  // threads and failure; below everything, never held across a wait
  std::vector<Thread> threads;
  std::exception_ptr failure;

  void work(Running& running, std::size_t number) noexcept;
  void abort(std::exception_ptr why) noexcept;
  void stop() noexcept;
  void declare_users();
  StageStats stats_of(const Running& running) const;
  std::vector<Thread> started() const;
};

void GraphRunner::State::work(Running& running, std::size_t number) noexcept {
  try {
    if (running.to_start.fetch_sub(1, std::memory_order_relaxed) == running.info.workers &&
        hooks.stage_started) {
      hooks.stage_started(running.info);
    }
    {
      StageWorker worker(running.info, running.meters[number], hooks);
      running.stage->work(worker);
    }
    // The last to leave sees what the others did (acq_rel), and closes.
    if (running.to_end.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    running.ended_ns.store(now_ns(), std::memory_order_relaxed);
    if (hooks.stage_ended) hooks.stage_ended(running.info, stats_of(running));
    running.stage->close();
    // What feeds a stage that has ended early, a sink that has enough, must not wait for it.
    if (running.input) running.input->cancel();
  } catch (...) {
    abort(std::current_exception());
  }
}

void GraphRunner::State::abort(std::exception_ptr why) noexcept {
  std::vector<Thread> blocked;
  {
    const std::lock_guard guard(lock);
    if (failure) return;
    failure = why;
    blocked = threads;
  }
  for (const std::shared_ptr<ChannelBase>& channel : channels) channel->fail(why);
  const Thread self = Thread::current();
  for (const Thread& thread : blocked) {
    if (!(thread == self)) thread.interrupt();
  }
}

void GraphRunner::State::stop() noexcept {
  for (const std::shared_ptr<ChannelBase>& channel : channels) channel->cancel();
}

// Not the channels that the caller takes from: it may do so in any thread.
void GraphRunner::State::declare_users() {
  for (std::size_t i = 0; i < channels.size(); ++i) {
    if (open_ended[i]) continue;
    std::vector<Thread> users;
    for (const std::unique_ptr<Running>& running : stages) {
      if (running->input == channels[i] || running->output == channels[i])
        users.insert(users.end(), running->threads.begin(), running->threads.end());
    }
    channels[i]->used_by(users);
  }
}

StageStats GraphRunner::State::stats_of(const Running& running) const {
  const std::int64_t ended = running.ended_ns.load(std::memory_order_relaxed);
  const std::int64_t now = ended > 0 ? ended : now_ns();
  const std::int64_t started = started_ns.load(std::memory_order_relaxed);
  StageStats stats{.name = running.info.name, .workers = running.info.workers};
  std::int64_t busy = 0;
  for (const WorkerMeter& meter : running.meters) {
    stats.items += meter.items.load(std::memory_order_relaxed);
    stats.dropped += meter.dropped.load(std::memory_order_relaxed);
    const std::int64_t since = meter.busy_since.load(std::memory_order_relaxed);
    busy += meter.busy_ns.load(std::memory_order_relaxed) +
            (since > 0 ? std::max<std::int64_t>(now - since, 0) : 0);
  }
  stats.busy = seconds(busy);
  if (running.input) stats.starved = seconds(running.input->stats().starved.count());
  if (running.output) stats.blocked = seconds(running.output->stats().blocked.count());
  stats.elapsed = started > 0 ? seconds(now - started) : 0;
  return stats;
}

std::vector<Thread> GraphRunner::State::started() const {
  const std::lock_guard guard(lock);
  return threads;
}

GraphRunner::GraphRunner(const TaskGraph& graph, Hooks hooks) : state_(std::make_unique<State>()) {
  State& state = *state_;
  state.name = graph.name();
  state.hooks = std::move(hooks);
  for (const TaskGraph::Edge& edge : graph.edges_) {
    const std::string& from = graph.nodes_[edge.producer].info.name;
    if (edge.consumer == TaskGraph::kNone) {
      throw Error("graph " + graph.name() + ": the output of stage " + from +
                  " goes nowhere; connect it or make it an outlet");
    }
    const bool open = edge.consumer == TaskGraph::kCaller;
    state.channels.push_back(
        edge.make(from, open ? "caller" : graph.nodes_[edge.consumer].info.name, edge.capacity));
    state.open_ended.push_back(open);
  }
  const auto at = [&](std::size_t edge) { return edge == TaskGraph::kNone ? nullptr : state.channels[edge]; };
  for (const TaskGraph::Node& node : graph.nodes_) {
    auto running = std::make_unique<State::Running>();
    running->info = node.info;
    running->input = at(node.input);
    running->output = at(node.output);
    running->stage = node.make({running->input, running->output});
    running->meters = std::vector<WorkerMeter>(node.info.workers);
    running->to_start = node.info.workers;
    running->to_end = node.info.workers;
    state.stages.push_back(std::move(running));
  }
}

GraphRunner::~GraphRunner() {
  state_->stop();
  for (const Thread& thread : state_->started()) thread.interrupt();
  bool interrupted = false;
  for (const Thread& thread : state_->started()) {
    for (bool joined = false; !joined;) {
      try {
        joined = thread.join();
      } catch (const InterruptedError&) {
        interrupted = true;  // the workers use this object: leaving before they do is no choice
      }
    }
  }
  if (interrupted) Thread::current().interrupt();
}

void GraphRunner::start() {
  State& state = *state_;
  std::int64_t never = 0;
  if (!state.started_ns.compare_exchange_strong(never, now_ns()))
    throw Error("graph " + state.name + " was started before");
  const std::shared_ptr<ThreadContainer> container =
      ThreadContainer::create(state.name, "creel::scheduler::GraphRunner");
  try {
    for (const std::unique_ptr<State::Running>& running : state.stages) {
      Thread::Builder builder = Thread::of_platform();
      builder.name(running->info.name + "-", 0).container(container);
      for (std::size_t i = 0; i < running->info.workers; ++i) {
        Thread thread = builder.start([&state, stage = running.get(), i] { state.work(*stage, i); });
        const std::lock_guard guard(state.lock);
        if (state.failure) thread.interrupt();  // abort() came before it was in the list
        running->threads.push_back(thread);
        state.threads.push_back(std::move(thread));
      }
    }
    state.declare_users();
  } catch (...) {  // no more threads: those that run must not wait for those that do not
    state.abort(std::current_exception());
    throw;
  }
}

bool GraphRunner::join(Deadline deadline) {
  for (const Thread& thread : state_->started()) {
    if (!thread.join(deadline)) return false;
  }
  const std::lock_guard guard(state_->lock);
  if (state_->failure) std::rethrow_exception(state_->failure);
  return true;
}

void GraphRunner::run() {
  start();
  try {
    join();
  } catch (const InterruptedError&) {
    abort(std::current_exception());
    join();
  }
}

void GraphRunner::request_stop() noexcept { state_->stop(); }

void GraphRunner::abort(std::exception_ptr failure) noexcept { state_->abort(std::move(failure)); }

std::shared_ptr<ChannelBase> GraphRunner::outlet(std::size_t edge) const {
  if (edge >= state_->channels.size() || !state_->open_ended[edge]) {
    throw Error("graph " + state_->name + ": that flow does not end at the caller");
  }
  return state_->channels[edge];
}

std::vector<StageStats> GraphRunner::stats() const {
  std::vector<StageStats> all;
  for (const std::unique_ptr<State::Running>& running : state_->stages)
    all.push_back(state_->stats_of(*running));
  return all;
}

}  // namespace creel::scheduler
