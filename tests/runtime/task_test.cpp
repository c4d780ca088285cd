#include <creel/runtime/task.hpp>

#include <doctest/doctest.h>

#include <array>
#include <memory>

TEST_CASE("a task holds what cannot be copied, small or large, and drops it once") {
  auto alive = std::make_shared<int>(0);
  int sum = 0;
  creel::Task small([p = std::make_unique<int>(3), &sum] { sum += *p; });
  creel::Task large([keep = alive, numbers = std::array<int, 100>{1, 2}, &sum] { sum += numbers[1]; });
  CHECK(alive.use_count() == 2);
  creel::Task moved = std::move(large);
  CHECK_FALSE(large);
  moved();
  small();
  CHECK(sum == 5);
  moved = std::move(small);
  CHECK(alive.use_count() == 1);
  moved();
  CHECK(sum == 8);
  moved.reset();
  CHECK_FALSE(moved);
}
