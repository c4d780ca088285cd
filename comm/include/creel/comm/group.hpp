#pragma once

#include <creel/comm/buffer_view.hpp>
#include <creel/comm/reduce_op.hpp>
#include <creel/comm/world.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

namespace creel::comm {

struct GroupOptions {
  /// Name of the algorithm of all_reduce ("ring", "direct"), or "auto": by size and number of ranks.
  std::string all_reduce = "auto";
  /// How long a rank may keep the others waiting before they give it up.
  std::chrono::duration<double> deadline = std::chrono::seconds(60);
};

/// A rank's handle on the collectives of its world. All ranks must call the same collectives in the same
/// order with the same sizes; a rank that differs is found out and named.
///
///     Group group = Group::join(world, rank);
///     group.all_reduce({gradient.data(), gradient.size(), DType::F32}, ReduceOp::Average);
///
/// A result is bitwise the same on all ranks, and from run to run for the same number of ranks, buffer sizes
/// and algorithm. F16 and BF16 are accumulated in fp32 and rounded once. Buffers need not be aligned.
///
/// A wait spins or yields for 100 us, then sleeps; thread dumps show it with the operation and the rank
/// waited for, as does World::status. It ends by
///  - CommError, if the world is aborted, or a peer keeps it waiting for longer than the deadline, or calls
///  something
///    else: the error names the rank at fault;
///  - InterruptedError, by Thread::interrupt() on the waiting thread.
/// Both abort the world, since the other ranks cannot finish either, and every later call throws CommError.
///
/// One thread at a time may use a Group. Several ranks may live in one process (as threads), each with its
/// own Group. Memory effects: what a rank did before a collective happens before the return from it on every
/// rank that received its data; for barrier, on every rank.
class Group {
 public:
  /// `world.enter(rank)` included. Throws Error if `options` names no known algorithm.
  static Group join(World& world, int rank, GroupOptions options = {});
  /// A group of one: every collective is a copy at most. So code for many ranks needs no branch for one.
  static Group alone();

  Group(Group&&) noexcept;
  Group& operator=(Group&&) noexcept;
  ~Group();

  int rank() const noexcept;
  int size() const noexcept;

  /// In place. `label` says in dumps what the buffer is ("gradients 3").
  void all_reduce(BufferView data, ReduceOp op, std::string_view label = {});
  /// output = the inputs in rank order: output.count = size() * input.count. `input` may be this rank's part
  /// of `output`.
  void all_gather(BufferView input, BufferView output, std::string_view label = {});
  /// output = part rank() of the reduced inputs: input.count = size() * output.count. `output` may be that
  /// part of `input`.
  void reduce_scatter(BufferView input, BufferView output, ReduceOp op, std::string_view label = {});
  /// data of rank `root` on all.
  void broadcast(BufferView data, int root, std::string_view label = {});
  /// Returns when all ranks have called it.
  void barrier();

 private:
  struct State;
  explicit Group(std::unique_ptr<State> state) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace creel::comm
