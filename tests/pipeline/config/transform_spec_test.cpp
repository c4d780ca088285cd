#include <creel/pipeline/config/transform_spec.hpp>

#include <doctest/doctest.h>

using namespace creel::pipeline;

TEST_CASE("a transform string is its calls, with places") {
  const auto calls = parse_transforms(" decode|resize( 32 ) |  affine(10, 0.1 ,-0.1)|flip()");
  REQUIRE(calls.size() == 4);
  CHECK(calls[0].name == "decode");
  CHECK(calls[0].column == 2);
  CHECK(calls[1].arguments == std::vector<std::string>{"32"});
  CHECK(calls[2].arguments == std::vector<std::string>{"10", "0.1", "-0.1"});
  CHECK(calls[2].column == 25);
  CHECK(calls[3].arguments.empty());
  CHECK(to_string(calls) == "decode | resize(32) | affine(10, 0.1, -0.1) | flip");
}

TEST_CASE("a transform string that cannot be read says where") {
  const auto offset = [](std::string_view text) {
    try {
      parse_transforms(text);
    } catch (const TransformSyntaxError& e) {
      CHECK_FALSE(e.message.empty());
      return static_cast<int>(e.offset);
    }
    return -1;
  };
  CHECK(offset("") == 0);
  CHECK(offset("  ") == 2);
  CHECK(offset("decode |") == 8);
  CHECK(offset("decode || x") == 8);
  CHECK(offset("decode resize") == 7);
  CHECK(offset("Decode") == 0);
  CHECK(offset("resize(32") == 6);
  CHECK(offset("resize(3 | x") == 6);
  CHECK(offset("resize(a(b))") == 6);
  CHECK(offset("resize(1,,2)") == 9);
  CHECK(offset("resize(1,)") == 9);
  CHECK(offset("resize(1)2") == 9);
}
