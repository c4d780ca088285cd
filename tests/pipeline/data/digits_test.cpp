#include <creel/pipeline/data/source.hpp>

#include <creel_test/skip.hpp>
#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

using creel::pipeline::Bytes;
using creel::pipeline::open_source;
using creel::pipeline::Sample;

namespace {

const std::filesystem::path kExamples = std::filesystem::path(CREEL_SOURCE_DIR) / "examples" / "data";

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string text(const Sample& sample, std::string_view field) {
  const auto& bytes = *sample.get<Bytes>(field);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

TEST_CASE("make_digits.py makes the shards of the repository again, byte for byte") {
  if (std::system("python3 --version >/dev/null 2>&1") != 0)
    return creel_test::skip("python3 is not installed");
  const creel_test::TemporaryFolder folder;
  const std::string command =
      "python3 '" + (kExamples / "make_digits.py").string() + "' '" + folder.path().string() + "' >/dev/null";
  REQUIRE(std::system(command.c_str()) == 0);
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    CAPTURE(entry.path().filename());
    CHECK((content(entry.path()) == content(kExamples / "digits" / entry.path().filename())));
    ++files;
  }
  CHECK(files == 5);
}

TEST_CASE("the digits are 1,437 and 360 samples with all classes, and the splits share no image") {
  const auto open = [](const std::string& name) {
    return open_source({.format = "tar_shards", .path = (kExamples / "digits" / name).string()});
  };
  const auto train = open("train-{00000..00003}.tar");
  const auto test = open("test-00000.tar");
  CHECK(train->size() == 1437);
  CHECK(test->size() == 360);
  std::array<int, 10> classes{};
  std::set<std::string> captions;
  for (std::int64_t i = 0; i < test->size(); ++i) {
    const Sample sample = test->read(i).value();
    ++classes.at(static_cast<std::size_t>(std::stoi(text(sample, "cls"))));
    captions.insert(text(sample, "txt"));
  }
  for (const int count : classes) {
    CHECK(count >= 34);
    CHECK(count <= 38);
  }
  CHECK(captions.size() > 100);
}
