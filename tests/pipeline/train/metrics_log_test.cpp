#include "metrics_log.hpp"

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

using creel::pipeline::MetricsLog;

namespace {

std::string content(const std::filesystem::path& folder) {
  std::ifstream in(folder / "metrics.jsonl", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_steps(const std::filesystem::path& folder, std::int64_t last) {
  MetricsLog log(folder, 0);
  for (std::int64_t step = 1; step <= last; ++step) log.step({step, 0, 1.0 / static_cast<double>(step), 100});
}

}  // namespace

TEST_CASE("a loss keeps all its bits") {
  const creel_test::TemporaryFolder folder;
  MetricsLog log(folder.path(), 0);
  log.step({1, 0, 0.1 + 0.2, 1234.56});
  CHECK(content(folder.path()) ==
        "{\"event\":\"step\",\"step\":1,\"epoch\":0,\"loss\":0.30000000000000004,\"images_per_s\":1234.6}\n");
}

TEST_CASE("what is not a number is null, so that every line stays JSON") {
  const creel_test::TemporaryFolder folder;
  MetricsLog log(folder.path(), 0);
  log.step({1, 0, std::nan(""), std::numeric_limits<double>::infinity()});
  CHECK(content(folder.path()).find("\"loss\":null,\"images_per_s\":null") != std::string::npos);
}

TEST_CASE("resuming cuts the steps after the checkpoint, a torn line and an old result") {
  const creel_test::TemporaryFolder folder;
  write_steps(folder.path(), 7);
  std::ofstream(folder.path() / "metrics.jsonl", std::ios::app) << "{\"event\":\"st";
  {
    MetricsLog log(folder.path(), 5);
    log.resume(5);
    log.step({6, 0, 0.5, 1});
  }
  const std::string text = content(folder.path());
  CHECK(text.find("\"step\":5,\"epoch\"") != std::string::npos);
  CHECK(
      text.ends_with("{\"event\":\"resume\",\"step\":5}\n"
                     "{\"event\":\"step\",\"step\":6,\"epoch\":0,\"loss\":0.5,\"images_per_s\":1.0}\n"));
  CHECK(text.find("\"step\":7") == std::string::npos);
}

TEST_CASE("a run from the start begins with an empty file") {
  const creel_test::TemporaryFolder folder;
  write_steps(folder.path(), 3);
  const MetricsLog log(folder.path(), 0);
  CHECK(content(folder.path()).empty());
}

TEST_CASE("a result is known as such") {
  const creel_test::TemporaryFolder folder;
  write_steps(folder.path(), 2);
  CHECK_FALSE(creel::pipeline::has_result(folder.path()));
  {
    MetricsLog log(folder.path(), 2);
    log.result({0.975, 1000, 12.5, 0});
  }
  CHECK(creel::pipeline::has_result(folder.path()));
  CHECK(content(folder.path())
            .ends_with("{\"event\":\"result\",\"zero_shot_top1\":0.975,\"images_per_s\":1000.0,"
                       "\"seconds\":12.500,\"bad_samples\":0}\n"));
}

TEST_CASE("a run that was not evaluated claims no accuracy") {
  const creel_test::TemporaryFolder folder;
  MetricsLog log(folder.path(), 0);
  log.result({-1, 1, 1, 0});
  CHECK(content(folder.path()).find("zero_shot_top1") == std::string::npos);
}
