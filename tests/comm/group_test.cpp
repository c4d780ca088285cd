#include "reference.hpp"
#include "thread_ranks.hpp"

#include <creel/comm/group.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

#include <vector>

using namespace creel::comm;
using namespace std::chrono_literals;

TEST_CASE("a group of one needs no world") {
  Group group = Group::alone();
  CHECK(group.rank() == 0);
  CHECK(group.size() == 1);
  std::vector<float> data{1, 2, 3};
  std::vector<float> copy(3);
  group.all_reduce({data.data(), 3, DType::F32}, ReduceOp::Average);
  group.all_gather({data.data(), 3, DType::F32}, {copy.data(), 3, DType::F32});
  CHECK(copy == data);
  copy.assign(3, 0);
  group.reduce_scatter({data.data(), 3, DType::F32}, {copy.data(), 3, DType::F32}, ReduceOp::Sum);
  CHECK(copy == data);
  group.broadcast({data.data(), 3, DType::F32}, 0);
  group.barrier();
  CHECK(data == std::vector<float>{1, 2, 3});
}

TEST_CASE("arguments that cannot be right are refused before anything is sent") {
  Group group = Group::alone();
  std::vector<float> data(4);
  CHECK_THROWS_WITH(group.all_gather({data.data(), 2, DType::F32}, {data.data(), 4, DType::F32}),
                    "all_gather: 4 f32 are not 1 times 2 f32");
  CHECK_THROWS_WITH(
      group.reduce_scatter({data.data(), 4, DType::F32}, {data.data(), 2, DType::F32}, ReduceOp::Sum),
      "reduce_scatter: 4 f32 are not 1 times 2 f32");
  CHECK_THROWS_WITH(group.broadcast({data.data(), 4, DType::F32}, 1),
                    "broadcast from rank 1 in a group of 1");
  CHECK_THROWS_WITH(group.all_reduce({data.data(), 4, DType::I32}, ReduceOp::Average),
                    doctest::Contains("average of i32"));
  World world = World::create(2);
  CHECK_THROWS_WITH(Group::join(world, 0, {.all_reduce = "rign"}),
                    "all_reduce has no algorithm 'rign'; use auto, direct, ring");
  CHECK_THROWS_WITH(Group::join(world, 2), "rank 2 of a world of 2 ranks");
}

TEST_CASE("a world of one rank joins as a group of one") {
  World world = World::create(1);
  Group group = Group::join(world, 0);
  CHECK(group.size() == 1);
  group.barrier();
  CHECK(world.status(0).pid == ::getpid());
}

TEST_CASE("a rank that joins again goes on where it left off") {
  World world = World::create(2);
  for (int round = 0; round < 3; ++round) {
    thread_ranks(world, [](Group& group) {
      for (int i = 0; i < 7; ++i) {
        float value = static_cast<float>(group.rank() + i);
        group.all_reduce({&value, 1, DType::F32}, ReduceOp::Sum);
        CHECK(value == static_cast<float>(2 * i + 1));
      }
    });
  }
  CHECK(world.status(0).sequence == 21);
}

TEST_CASE("other collectives agree with the serial reference, in place and not" * doctest::timeout(60)) {
  for (const int ranks : {2, 3, 4, 5}) {
    World world = World::create(ranks, 16 << 10);
    thread_ranks(world, [&](Group& group) {
      const int rank = group.rank();
      for (int d = 0; d < 7; ++d) {
        const auto dtype = static_cast<DType>(d);
        for (const std::size_t count : {0u, 1u, 17u, 1000u, 5003u}) {
          const std::size_t bytes = count * size_of(dtype);
          const auto own_part = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(rank) * bytes);
          const std::size_t all = count * static_cast<std::size_t>(ranks);
          // Not a multiple of the alignment of anything.
          reference::Bytes storage(all * size_of(dtype) + 1);
          std::byte* const unaligned = storage.data() + 1;

          reference::Bytes gathered;
          for (int r = 0; r < ranks; ++r) {
            const reference::Bytes part = reference::filled(count, r, dtype);
            gathered.insert(gathered.end(), part.begin(), part.end());
          }
          reference::Bytes input = reference::filled(count, rank, dtype);
          group.all_gather({input.data(), count, dtype}, {unaligned, all, dtype});
          CHECK(std::equal(gathered.begin(), gathered.end(), unaligned));
          std::fill(storage.begin(), storage.end(), std::byte{0});
          std::copy(input.begin(), input.end(), unaligned + own_part);
          group.all_gather({unaligned + own_part, count, dtype}, {unaligned, all, dtype});
          CHECK(std::equal(gathered.begin(), gathered.end(), unaligned));

          const reference::Bytes sum = reference::reduced(all, ranks, dtype, ReduceOp::Sum);
          const reference::Bytes whole = reference::filled(all, rank, dtype);
          std::copy(whole.begin(), whole.end(), unaligned);
          reference::Bytes part(bytes);
          group.reduce_scatter({unaligned, all, dtype}, {part.data(), count, dtype}, ReduceOp::Sum);
          CHECK(std::equal(part.begin(), part.end(), sum.begin() + own_part));
          CHECK(std::equal(whole.begin(), whole.end(), unaligned));
          group.reduce_scatter({unaligned, all, dtype}, {unaligned + own_part, count, dtype}, ReduceOp::Sum);
          CHECK(std::equal(part.begin(), part.end(), unaligned + own_part));

          for (int root = 0; root < ranks; ++root) {
            reference::Bytes data = reference::filled(all, rank, dtype);
            group.broadcast({data.data(), all, dtype}, root);
            CHECK(data == reference::filled(all, root, dtype));
          }
        }
      }
    });
  }
}

TEST_CASE("all_reduce with more ranks than processors, in chunks and unaligned" * doctest::timeout(120)) {
  for (const int ranks : {5, 6, 7, 8}) {
    for (const char* algorithm : {"ring", "direct"}) {
      CAPTURE(ranks);
      CAPTURE(algorithm);
      World world = World::create(ranks, 64 << 10);
      thread_ranks(world,
                   [&](Group& group) {
                     for (const DType dtype : {DType::F32, DType::BF16, DType::I64}) {
                       for (const std::size_t count : {0u, 1u, 7u, 200u, 9001u}) {
                         const reference::Bytes mine = reference::filled(count, group.rank(), dtype);
                         reference::Bytes storage(mine.size() + 1);
                         std::copy(mine.begin(), mine.end(), storage.begin() + 1);
                         group.all_reduce({storage.data() + 1, count, dtype}, ReduceOp::Sum);
                         const reference::Bytes expected =
                             reference::reduced(count, ranks, dtype, ReduceOp::Sum);
                         CHECK(std::equal(expected.begin(), expected.end(), storage.begin() + 1));
                       }
                     }
                   },
                   {.all_reduce = algorithm});
    }
  }
}

TEST_CASE("nobody leaves a barrier before all have come" * doctest::timeout(60)) {
  for (const int ranks : {2, 3, 5, 8}) {
    World world = World::create(ranks, 64 << 10);
    std::atomic<int> entered{0};
    thread_ranks(world, [&](Group& group) {
      for (int round = 1; round <= 200; ++round) {
        entered.fetch_add(1);
        group.barrier();
        CHECK(entered.load() >= round * ranks);
        group.barrier();
      }
    });
  }
}

TEST_CASE("ten thousand small collectives one after another" * doctest::timeout(120)) {
  World world = World::create(2);
  thread_ranks(world, [](Group& group) {
    for (int i = 0; i < 10'000; ++i) {
      std::int64_t value[3] = {i, group.rank(), 1};
      group.all_reduce({value, 3, DType::I64}, ReduceOp::Sum);
      if (value[0] != 2 * i || value[1] != 1 || value[2] != 2) {
        FAIL_CHECK("wrong sum in call " << i);
        return;
      }
    }
  });
}
