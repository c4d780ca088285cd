#pragma once

#include "foreign_threads.hpp"
#include "thread_record.hpp"
#include "wait_snapshot.hpp"
#include "waker_set_reader.hpp"

#include <creel/runtime/deadlock.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace creel::detail {

/// Who waits for whom: node i goes on when any node of targets[i] does. A node without targets can go on by
/// itself, as far as is known.
using WaitGraph = std::vector<std::vector<std::size_t>>;

/// The knots of a graph, each once: sets of nodes that wait for each other and for nobody else, so that none
/// of them ever goes on. Where every node waits for one other, those are the cycles. A knot is in the order
/// in which its nodes wait for each other, the lowest first.
std::vector<std::vector<std::size_t>> find_knots(const WaitGraph& targets);

/// One search for deadlocks over creel's threads and, by what the kernel says of them, everybody else's.
class DeadlockSearch {
 public:
  /// Id and name of a thread that creel does not know; nullopt if it has ended.
  using Identify = std::function<std::optional<ForeignThreads::Thread>(pid_t)>;

  /// `records` sorted by id; `foreign`: the other threads of the process.
  DeadlockSearch(std::span<const std::shared_ptr<ThreadRecord>> records, std::vector<pid_t> foreign,
                 Identify identify);
  std::vector<Deadlock> run();

 private:
  // What a node was seen to wait in: one of creel's waits, or a foreign lock.
  struct Edge {
    std::size_t node = 0;
    std::optional<WaitSnapshot> wait;
    std::uint64_t owner = 0;                        // of wait: id of the thread that owns what it waits for
    std::optional<WakerSetReader::Members> wakers;  // of wait, if it has no owner
    pid_t tid = 0;                                  // else: who is blocked in `call`
    BlockedCall call;
    ForeignLock lock;
    std::uint64_t switches = 0;
    std::vector<std::size_t> targets;
  };

  void collect();
  void add_parked(std::size_t node, const ThreadRecord& record);
  void add_blocked(std::size_t node, pid_t tid);
  void find_targets();
  bool holds(std::span<Edge* const> knot) const;
  bool read_again(Edge& edge) const;
  bool is_unchanged(const Edge& edge) const;
  Deadlock describe(std::span<const Edge* const> knot) const;
  LockInfo describe_lock(const Edge& edge) const;
  std::pair<std::uint64_t, std::string> name_of(std::size_t node) const;
  std::optional<std::size_t> node_of_id(std::uint64_t id) const noexcept;
  std::optional<std::size_t> node_of_tid(pid_t tid);

  std::span<const std::shared_ptr<ThreadRecord>> records_;  // the first nodes
  std::vector<pid_t> foreign_;                              // those behind them
  Identify identify_;
  std::vector<Edge> edges_;
  std::vector<std::pair<pid_t, std::size_t>> by_tid_;  // sorted; made when it is needed
};

}  // namespace creel::detail
