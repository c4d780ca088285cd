#pragma once

#include <creel/runtime/deadline.hpp>
#include <creel/scheduler/hooks.hpp>
#include <creel/scheduler/stage_stats.hpp>
#include <creel/scheduler/task_graph.hpp>

#include <memory>
#include <vector>

namespace creel::scheduler {

/// Runs a TaskGraph once: a creel::Thread for each worker, named `decode-0`, in a ThreadContainer named after
/// the graph.
///
/// The first exception that leaves a stage ends the run: all channels fail with it, workers that wait are
/// interrupted, and join() throws it. Other exceptions that this causes are dropped. Memory effects:
/// everything that the stages did happens before join() returns.
class GraphRunner {
 public:
  /// Copies the graph. Throws Error if a flow goes nowhere.
  explicit GraphRunner(const TaskGraph& graph, Hooks hooks = {});
  /// Stops the run, interrupts and joins its workers.
  ~GraphRunner();
  GraphRunner(const GraphRunner&) = delete;
  GraphRunner& operator=(const GraphRunner&) = delete;

  /// Starts the workers. Once.
  void start();
  /// Waits until all workers have ended, then throws the run's failure if there was one. False if `deadline`
  /// passes first. Throws InterruptedError; the run goes on then.
  bool join(Deadline deadline = {});
  /// start() and join(). When the caller is interrupted the run ends by that InterruptedError.
  void run();

  /// Ends the run early and in good order: items on their way are dropped, a stage finishes the item it is
  /// at, join() does not throw for it. Does not wait. Safe from any thread, also from a stage.
  void request_stop() noexcept;
  /// Ends the run by `failure` as if a stage had thrown it. Only the first one counts.
  void abort(std::exception_ptr failure) noexcept;

  /// The channel at the end of a flow that TaskGraph::outlet() gave to the caller.
  template <typename T>
  std::shared_ptr<Channel<T>> channel(Flow<T> flow) const {
    return std::static_pointer_cast<Channel<T>>(outlet(flow.edge()));
  }

  /// Figures of every stage in the graph's order, at any time, from any thread.
  std::vector<StageStats> stats() const;

 private:
  struct State;
  std::shared_ptr<ChannelBase> outlet(std::size_t edge) const;

  std::unique_ptr<State> state_;
};

}  // namespace creel::scheduler
