#pragma once

#include <creel/comm/buffer_view.hpp>
#include <creel/comm/operation.hpp>
#include <creel/comm/reduce_op.hpp>

#include <cstddef>
#include <string_view>

namespace creel::comm {

class Transport;

/// What a call costs one rank: messages that follow one another on the longest path, and bytes sent by the
/// rank that sends most.
struct Cost {
  std::size_t steps = 0;
  std::size_t bytes = 0;
};

/// What decides whether an algorithm may run and what it costs.
struct Shape {
  std::size_t bytes = 0;  ///< of the whole buffer, see Group
  int ranks = 1;
  std::size_t chunk_bytes = 0;  ///< largest message of the transport
};

/// Arguments of one call. Which are used depends on the collective; for all_reduce and broadcast output is
/// the buffer.
struct CollectiveCall {
  BufferView input = {};
  BufferView output = {};
  ReduceOp op = ReduceOp::Sum;
  int root = 0;
};

/// One way to do one collective. A file in src/algorithms/ defines each and registers it by the rule of its
/// stem. `run` is called with two ranks or more.
struct Algorithm {
  std::string_view name;  ///< unique within the collective
  Collective collective = Collective::Barrier;
  bool (*fits)(const Shape& shape) = nullptr;
  Cost (*cost)(const Shape& shape) = nullptr;
  void (*run)(Transport& transport, const CollectiveCall& call) = nullptr;
};

}  // namespace creel::comm
