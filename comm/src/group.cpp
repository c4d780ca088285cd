#include "transport/shared_memory.hpp"

#include <creel/comm/algorithm.hpp>
#include <creel/comm/group.hpp>
#include <creel/comm/selector.hpp>
#include <creel/comm/transport.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>

#include <array>
#include <bit>
#include <cstring>

namespace creel::comm {

struct Group::State {
  std::unique_ptr<Transport> transport;  // none in a group of one
  GroupOptions options;
  std::array<std::uint64_t, 5> logged{};  // per collective a bit for each power of two of bytes
  // The last choice: training repeats the same few sizes.
  std::array<const Algorithm*, 5> chosen{};
  std::array<std::size_t, 5> chosen_bytes{};

  const Algorithm& choose(Collective collective, std::size_t bytes);
  void run(const Operation& operation, const CollectiveCall& call);
};

const Algorithm& Group::State::choose(Collective collective, std::size_t bytes) {
  const auto kind = static_cast<std::size_t>(collective);
  if (chosen[kind] != nullptr && chosen_bytes[kind] == bytes) return *chosen[kind];
  const Shape shape{bytes, transport->size(), transport->chunk_bytes()};
  const std::string_view wanted =
      collective == Collective::AllReduce ? options.all_reduce : std::string_view("auto");
  const Algorithm& algorithm = select_algorithm(collective, shape, wanted);
  chosen[kind] = &algorithm;
  chosen_bytes[kind] = bytes;
  const std::uint64_t size_class = std::uint64_t{1} << (std::bit_width(bytes) % 64);
  if ((logged[kind] & size_class) == 0) {
    logged[kind] |= size_class;
    const Cost cost = algorithm.cost(shape);
    log::debug("comm.algorithm", {{"collective", name(collective)},
                                  {"bytes", bytes},
                                  {"ranks", shape.ranks},
                                  {"algorithm", algorithm.name},
                                  {"wanted", wanted},
                                  {"steps", cost.steps},
                                  {"bytes_sent", cost.bytes}});
  }
  return algorithm;
}

void Group::State::run(const Operation& operation, const CollectiveCall& call) {
  const Algorithm& algorithm = choose(operation.collective, operation.bytes);
  transport->begin(operation);
  try {
    algorithm.run(*transport, call);
  } catch (const std::exception& error) {
    transport->abandon(error.what());
    throw;
  }
  transport->end();
}

namespace {

void check_op(DType dtype, ReduceOp op) {
  if (op == ReduceOp::Average && !is_floating(dtype)) {
    throw Error("average of " + std::string(name(dtype)) +
                ": integers have no exact average; use Sum and divide");
  }
}

void check_parts(std::string_view what, const BufferView& whole, const BufferView& part, int ranks) {
  if (whole.dtype == part.dtype && whole.count == part.count * static_cast<std::size_t>(ranks)) return;
  throw Error(std::string(what) + ": " + std::to_string(whole.count) + " " + std::string(name(whole.dtype)) +
              " are not " + std::to_string(ranks) + " times " + std::to_string(part.count) + " " +
              std::string(name(part.dtype)));
}

void copy(const BufferView& from, const BufferView& to) {
  if (from.data != to.data && from.count != 0) std::memmove(to.data, from.data, from.bytes());
}

}  // namespace

Group::Group(std::unique_ptr<State> state) noexcept : state_(std::move(state)) {}
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;
Group::~Group() = default;

Group Group::join(World& world, int rank, GroupOptions options) {
  select_algorithm(Collective::AllReduce, {0, 2, detail::kLine},
                   options.all_reduce);  // throws now, not in the first step
  world.enter(rank);
  auto state = std::make_unique<State>();
  state->options = std::move(options);
  if (world.size() > 1) {
    state->transport = std::make_unique<detail::SharedMemoryTransport>(world, rank, state->options.deadline);
  }
  return Group(std::move(state));
}

Group Group::alone() { return Group(std::make_unique<State>()); }

int Group::rank() const noexcept { return state_->transport ? state_->transport->rank() : 0; }
int Group::size() const noexcept { return state_->transport ? state_->transport->size() : 1; }

void Group::all_reduce(BufferView data, ReduceOp op, std::string_view label) {
  check_op(data.dtype, op);
  if (!state_->transport) return;
  state_->run({.collective = Collective::AllReduce,
               .dtype = data.dtype,
               .reduce = op,
               .bytes = data.bytes(),
               .label = label},
              {.output = data, .op = op});
}

void Group::all_gather(BufferView input, BufferView output, std::string_view label) {
  check_parts("all_gather", output, input, size());
  if (!state_->transport) return copy(input, output);
  state_->run(
      {.collective = Collective::AllGather, .dtype = input.dtype, .bytes = output.bytes(), .label = label},
      {.input = input, .output = output});
}

void Group::reduce_scatter(BufferView input, BufferView output, ReduceOp op, std::string_view label) {
  check_op(input.dtype, op);
  check_parts("reduce_scatter", input, output, size());
  if (!state_->transport) return copy(input, output);
  state_->run({.collective = Collective::ReduceScatter,
               .dtype = input.dtype,
               .reduce = op,
               .bytes = input.bytes(),
               .label = label},
              {.input = input, .output = output, .op = op});
}

void Group::broadcast(BufferView data, int root, std::string_view label) {
  if (root < 0 || root >= size()) {
    throw Error("broadcast from rank " + std::to_string(root) + " in a group of " + std::to_string(size()));
  }
  if (!state_->transport) return;
  state_->run({.collective = Collective::Broadcast,
               .dtype = data.dtype,
               .root = static_cast<std::uint8_t>(root),
               .bytes = data.bytes(),
               .label = label},
              {.output = data, .root = root});
}

void Group::barrier() {
  if (!state_->transport) return;
  state_->run({.collective = Collective::Barrier}, {});
}

}  // namespace creel::comm
