#include <creel/scheduler/stage_stats.hpp>

#include <doctest/doctest.h>

#include <vector>

using creel::scheduler::StageStats;

TEST_CASE("the table shows each stage's time as seconds, as a share of its workers' time and as a bar") {
  const std::vector<StageStats> stages{
      {.name = "read", .workers = 1, .items = 1437, .busy = 1, .starved = 0, .blocked = 9, .elapsed = 10},
      {.name = "decode", .workers = 2, .items = 1437, .dropped = 3, .busy = 15, .starved = 5, .elapsed = 10},
  };
  CHECK(creel::scheduler::to_table(stages) ==
        "stage   workers      items             busy          starved          blocked  # busy . starved ~ "
        "blocked\n"
        "read          1       1437       1.00 s  10 %       0.00 s   0 %       9.00 s  90 %  "
        "##~~~~~~~~~~~~~~~~~~\n"
        "decode        2       1437      15.00 s  75 %       5.00 s  25 %       0.00 s   0 %  "
        "###############.....  dropped 3\n");
}

TEST_CASE("a stage that never ran has shares of nothing") {
  const std::vector<StageStats> stages{{.name = "read", .workers = 1}};
  CHECK(creel::scheduler::to_table(stages).find("0.00 s   0 %") != std::string::npos);
}
