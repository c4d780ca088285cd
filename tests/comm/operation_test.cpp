#include <creel/comm/operation.hpp>

#include <doctest/doctest.h>

using namespace creel::comm;

TEST_CASE("bytes in words") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(8) == "8 B");
  CHECK(format_bytes(64 << 10) == "64 KiB");
  CHECK(format_bytes(1258291) == "1.2 MiB");
  CHECK(format_bytes(std::uint64_t{5} << 40) == "5 TiB");
}

TEST_CASE("an operation in words") {
  Operation operation{
      .collective = Collective::AllReduce, .dtype = DType::F32, .sequence = 41, .bytes = 1258291};
  CHECK(doing(operation) == "all_reduce #41, 1.2 MiB");
  CHECK(doing(operation, 1) == "all_reduce #41, 1.2 MiB, waiting for rank 1");
  CHECK(title(operation) == "all_reduce #41 (1.2 MiB)");
  CHECK(describe(operation) == "all_reduce #41 of 1.2 MiB (1258291 bytes), f32 sum");
  operation.label = "gradients 3";
  CHECK(doing(operation, 1) == "all_reduce #41, 1.2 MiB, waiting for rank 1 (gradients 3)");
  CHECK(doing({.collective = Collective::Barrier, .sequence = 2}, 0) == "barrier #2, waiting for rank 0");
  CHECK(
      describe(
          {.collective = Collective::Broadcast, .dtype = DType::U8, .root = 1, .sequence = 3, .bytes = 9}) ==
      "broadcast #3 of 9 B, u8 from rank 1");
}

TEST_CASE("two operations agree only if all but the label is the same") {
  const Operation operation{
      .collective = Collective::AllReduce, .dtype = DType::F32, .sequence = 41, .bytes = 64};
  Operation other = operation;
  other.label = "anything";
  CHECK(operation.agrees_with(other));
  for (int field = 0; field < 6; ++field) {
    other = operation;
    if (field == 0) other.collective = Collective::Broadcast;
    if (field == 1) other.dtype = DType::I32;
    if (field == 2) other.reduce = ReduceOp::Max;
    if (field == 3) other.root = 1;
    if (field == 4) other.sequence = 42;
    if (field == 5) other.bytes = 65;
    CHECK_FALSE(operation.agrees_with(other));
  }
}
