#include <creel/pipeline/data/collate.hpp>
#include <creel/runtime/error.hpp>

#include <doctest/doctest.h>

#include <numeric>

using namespace creel::pipeline;

namespace {

HostTensor counting(std::vector<std::int64_t> shape, std::int64_t first) {
  HostTensor tensor(ElementType::I64, std::move(shape));
  std::iota(tensor.values<std::int64_t>().begin(), tensor.values<std::int64_t>().end(), first);
  return tensor;
}

Sample sample(const std::string& key, std::vector<std::int64_t> shape, std::int64_t first) {
  Sample made;
  made.key = key;
  made.set("ids", counting(std::move(shape), first));
  return made;
}

std::vector<std::int64_t> values(const Batch& batch, std::string_view name) {
  const auto span = batch.tensor(name).values<std::int64_t>();
  return {span.begin(), span.end()};
}

creel::Result<Batch> collate_two(const Sample& a, const Sample& b, const CollateRules& rules = {}) {
  const std::vector<const Sample*> rows{&a, &b};
  return collate(rows, rules);
}

}  // namespace

TEST_CASE("tensors of one shape are stacked, texts listed and stored bytes left out") {
  Sample a = sample("a", {2}, 1);
  Sample b = sample("b", {2}, 5);
  a.set("caption", std::string("one"));
  b.set("caption", std::string("two"));
  a.set("json", Bytes(3));
  const creel::Result<Batch> batch = collate_two(a, b);
  REQUIRE(batch);
  CHECK(batch.value().rows == 2);
  CHECK(batch.value().keys == std::vector<std::string>{"a", "b"});
  CHECK(batch.value().tensor("ids").shape() == std::vector<std::int64_t>{2, 2});
  CHECK(values(batch.value(), "ids") == std::vector<std::int64_t>{1, 2, 5, 6});
  CHECK(batch.value().texts("caption") == std::vector<std::string>{"one", "two"});
  CHECK_FALSE(batch.value().has("json"));
  CHECK_THROWS_WITH_AS(static_cast<void>(batch.value().tensor("caption")),
                       "the batch has no tensor 'caption'; the transforms must make it", creel::Error);
}

TEST_CASE("scalars stack to one dimension") {
  const creel::Result<Batch> batch = collate_two(sample("a", {}, 3), sample("b", {}, 4));
  REQUIRE(batch);
  CHECK(batch.value().tensor("ids").shape() == std::vector<std::int64_t>{2});
  CHECK(values(batch.value(), "ids") == std::vector<std::int64_t>{3, 4});
}

TEST_CASE("another shape, type or kind is a failure that names the field and both samples") {
  CHECK(collate_two(sample("a", {2}, 0), sample("b", {3}, 0)).failure().message ==
        "field ids: a has i64 [2], b has i64 [3]");
  Sample floats;
  floats.key = "b";
  floats.set("ids", HostTensor(ElementType::F32, {2}));
  CHECK(collate_two(sample("a", {2}, 0), floats).failure().message ==
        "field ids: a has i64 [2], b has f32 [2]");
  Sample none;
  none.key = "b";
  CHECK(collate_two(sample("a", {2}, 0), none).failure().message == "field ids: a has i64 [2], b has none");
  Sample text;
  text.key = "a";
  text.set("ids", std::string("x"));
  CHECK(collate_two(text, sample("b", {2}, 0)).failure().message == "field ids: a has text, b has i64 [2]");
}

TEST_CASE("padding fills up to the largest extent of each dimension") {
  const CollateRules rules{{"ids", {.policy = CollatePolicy::Pad, .pad_value = -1}}};
  const creel::Result<Batch> flat = collate_two(sample("a", {1}, 7), sample("b", {3}, 1), rules);
  REQUIRE(flat);
  CHECK(flat.value().tensor("ids").shape() == std::vector<std::int64_t>{2, 3});
  CHECK(values(flat.value(), "ids") == std::vector<std::int64_t>{7, -1, -1, 1, 2, 3});
  const creel::Result<Batch> square = collate_two(sample("a", {2, 1}, 1), sample("b", {1, 2}, 5), rules);
  REQUIRE(square);
  CHECK(square.value().tensor("ids").shape() == std::vector<std::int64_t>{2, 2, 2});
  CHECK(values(square.value(), "ids") == std::vector<std::int64_t>{1, -1, 2, -1, 5, 6, -1, -1});
  CHECK(collate_two(sample("a", {1}, 7), sample("b", {1, 1}, 7), rules).failure().message ==
        "field ids: a has i64 [1], b has i64 [1, 1]");
}
