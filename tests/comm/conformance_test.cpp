#include "reference.hpp"
#include "transport/shared_memory.hpp"

#include <creel/comm/algorithm_registry.hpp>
#include <creel/comm/group.hpp>

#include <creel_test/multi_process.hpp>
#include <doctest/doctest.h>

#include <string>
#include <vector>

// Every algorithm of all_reduce that the registry knows, now and later, in processes of their own.
using namespace creel::comm;

namespace {

std::uint64_t fingerprint(const reference::Bytes& bytes) {
  std::uint64_t hash = 14695981039346656037u;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
  return hash;
}

// Numbers whose sum depends on the order and the rounding: here only "the same everywhere" can be asked.
reference::Bytes awkward(std::size_t count, int rank, DType dtype) {
  reference::Bytes bytes(count * size_of(dtype));
  for (std::size_t i = 0; i < count; ++i) {
    const double x = std::sin(static_cast<double>(i * 31 + static_cast<std::size_t>(rank) * 7919)) * 100;
    reference::put_value(bytes, i, dtype, dtype == DType::U8 ? std::fabs(x) : x);
  }
  return bytes;
}

// All sizes and types on one rank; throws at the first difference, returns a fingerprint of all results.
std::string check_all_reduce(Group& group, int ranks) {
  std::uint64_t seen = 0;
  for (int d = 0; d < 7; ++d) {
    const auto dtype = static_cast<DType>(d);
    for (const std::size_t count : {0u, 1u, 2u, 3u, 5u, 31u, 64u, 1000u, 4099u, 9'973u}) {
      for (const ReduceOp op : {ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min, ReduceOp::Average}) {
        if (op == ReduceOp::Average && !is_floating(dtype)) continue;
        reference::Bytes data = reference::filled(count, group.rank(), dtype);
        group.all_reduce({data.data(), count, dtype}, op);
        if (data != reference::reduced(count, ranks, dtype, op)) {
          throw creel::Error("wrong " + std::string(name(op)) + " of " + std::to_string(count) + " " +
                             std::string(name(dtype)));
        }
        if (op != ReduceOp::Sum) continue;
        reference::Bytes other = awkward(count, group.rank(), dtype);
        group.all_reduce({other.data(), count, dtype}, op);
        seen = seen * 31 + fingerprint(other);
      }
    }
  }
  return std::to_string(seen);
}

}  // namespace

TEST_CASE("every all_reduce gives the reference's sums, the same bits on all ranks, run after run" *
          doctest::test_suite("slow") * doctest::timeout(300)) {
  for (const Algorithm& algorithm : AlgorithmRegistry::instance().all()) {
    if (algorithm.collective != Collective::AllReduce) continue;
    for (const int ranks : {1, 2, 3, 4}) {
      CAPTURE(algorithm.name);
      CAPTURE(ranks);
      std::string first;
      for (int repeat = 0; repeat < 2; ++repeat) {
        World world = World::create(ranks, 48 << 10);  // chunks of 12 KiB at most: most buffers need several
        for (const std::string& result : creel_test::run_ranks(world, [&](World&inherited, int rank) {
               Group group = Group::join(inherited, rank, {.all_reduce = std::string(algorithm.name)});
               return check_all_reduce(group, ranks);
             })) {
          if (first.empty()) first = result;
          CHECK(result == first);
        }
      }
    }
  }
}

TEST_CASE("with two ranks all algorithms give the same bits") {
  std::string first;
  for (const char* algorithm : {"ring", "direct", "auto"}) {
    World world = World::create(2);
    for (const std::string& result : creel_test::run_ranks(world, [&](World&inherited, int rank) {
           Group group = Group::join(inherited, rank, {.all_reduce = algorithm});
           return check_all_reduce(group, 2);
         })) {
      if (first.empty()) first = result;
      CHECK(result == first);
    }
  }
}

TEST_CASE("16-bit floats are rounded once, however many ranks") {
  // 1 + three times half an ulp: rounded at every hop this stays 1.
  World world = World::create(4);
  for (const std::string& result : creel_test::run_ranks(world, [](World&inherited, int rank) {
         std::string seen;
         for (const char* algorithm : {"ring", "direct"}) {
           Group group = Group::join(inherited, rank, {.all_reduce = algorithm});
           reference::Bytes data(256 * 2);
           for (std::size_t i = 0; i < 256; ++i) {
             reference::put_value(data, i, DType::BF16, rank == static_cast<int>(i % 4) ? 1.0 : 1.0 / 256);
           }
           group.all_reduce({data.data(), 256, DType::BF16}, ReduceOp::Sum);
           for (std::size_t i = 0; i < 256; ++i) {
             if (reference::value_at(data, i, DType::BF16) != 1.015625)
               throw creel::Error("rounded more than once");
           }
         }
         return seen;
       })) {
    CHECK(result.empty());
  }
}

TEST_CASE("an algorithm sends the bytes that its cost says") {
  for (const Algorithm& algorithm : AlgorithmRegistry::instance().all()) {
    const int ranks = 4;
    CAPTURE(algorithm.name);
    World world = World::create(ranks);
    const std::size_t count = 4096;  // F32: 1 KiB lines in each of the four blocks
    std::uint64_t most = 0;
    for (const std::string& sent : creel_test::run_ranks(world, [&](World&inherited, int rank) {
           inherited.enter(rank);
           detail::SharedMemoryTransport transport(inherited, rank, std::chrono::seconds(60));
           std::vector<float> whole(count, 1.0f);
           std::vector<float> part(count / ranks, 1.0f);
           CollectiveCall call{.output = {whole.data(), count, DType::F32}};
           if (algorithm.collective == Collective::AllGather)
             call.input = {part.data(), part.size(), DType::F32};
           if (algorithm.collective == Collective::ReduceScatter) {
             call = {.input = {whole.data(), count, DType::F32},
                     .output = {part.data(), part.size(), DType::F32}};
           }
           transport.begin({.collective = algorithm.collective, .bytes = count * 4});
           algorithm.run(transport, call);
           transport.end();
           return std::to_string(transport.bytes_sent());
         })) {
      most = std::max(most, static_cast<std::uint64_t>(std::stoull(sent)));
    }
    CHECK(most == algorithm.cost({count * 4, ranks, std::size_t{128} << 10}).bytes);
  }
}
