#include <creel/pipeline/config/nearest_name.hpp>

#include <doctest/doctest.h>

#include <vector>

using creel::pipeline::nearest_name;

TEST_CASE("the nearest name is found within a third of the length") {
  const std::vector<std::string> names{"batch", "workers", "max_bad", "lr"};
  CHECK(nearest_name("bacth", names) == "batch");  // neighbours swapped count once
  CHECK(nearest_name("worker", names) == "workers");
  CHECK(nearest_name("maxbad", names) == "max_bad");
  CHECK(nearest_name("l", names) == "lr");
  CHECK_FALSE(nearest_name("epochs", names).has_value());
  CHECK_FALSE(nearest_name("x", std::vector<std::string>{}).has_value());
}
