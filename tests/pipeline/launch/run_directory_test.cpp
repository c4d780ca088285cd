#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/launch/process_table.hpp>
#include <creel/pipeline/launch/run_directory.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

using namespace creel::pipeline;
namespace fs = std::filesystem;

namespace {

RunConfig config_of(const std::string& more = "") {
  LoadOptions options;
  options.check_files = false;
  if (!more.empty()) options.overrides = {more};
  return parse_config(
             "data: {source: {format: tar_shards, path: a.tar}}\ntransforms: decode\nmodel: {name: clip}\n",
             "/x/run.yaml", options)
      .config;
}

std::string refusal_of(const fs::path& path, RunMode mode, const RunConfig& config) {
  try {
    RunDirectory::open(path, mode, config);
  } catch (const creel::Error& e) {
    CHECK(creel::exit_code(e.code()) == 2);
    return e.what();
  }
  return "";
}

void touch(const fs::path& path) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << "x";
}

}  // namespace

TEST_CASE("a new run makes its folder and saves its configuration") {
  const creel_test::TemporaryFolder folder;
  const fs::path path = folder.path() / "runs" / "one";
  RunDirectory::open(path, RunMode::Fresh, config_of());
  LoadOptions options;
  options.check_files = false;
  CHECK(load_config(path / "config.yaml", options).config.name == "run");
}

TEST_CASE("a folder that holds a run is refused unless told what to do with it") {
  for (const char* mark : {"config.yaml", "checkpoints/step-00000010.safetensors", "metrics.jsonl"}) {
    const creel_test::TemporaryFolder folder;
    touch(folder.path() / mark);
    const std::string why = refusal_of(folder.path(), RunMode::Fresh, config_of());
    CAPTURE(why);
    CHECK(why.find("already holds a run") != std::string::npos);
    CHECK(why.find("--resume") != std::string::npos);
    CHECK(why.find("--overwrite") != std::string::npos);
    CHECK(fs::exists(folder.path() / mark));
  }
}

TEST_CASE("--overwrite removes the run, and only the run") {
  const creel_test::TemporaryFolder folder;
  for (const char* name :
       {"config.yaml", "checkpoints/step-00000010.safetensors", "metrics.jsonl", "notes.txt"})
    touch(folder.path() / name);
  RunDirectory::open(folder.path(), RunMode::Overwrite, config_of());
  CHECK_FALSE(fs::exists(folder.path() / "metrics.jsonl"));
  CHECK(fs::exists(folder.path() / "notes.txt"));
}

TEST_CASE("--resume takes the run if its numbers stay the same") {
  const creel_test::TemporaryFolder folder;
  { const RunDirectory first = RunDirectory::open(folder.path(), RunMode::Fresh, config_of()); }
  CHECK(refusal_of(folder.path(), RunMode::Resume, config_of()).empty());
  CHECK(refusal_of(folder.path(), RunMode::Resume, config_of("train.epochs=9")).empty());
  const std::string why = refusal_of(folder.path(), RunMode::Resume, config_of("data.batch=3"));
  CHECK(why.find("other values of data.batch;") != std::string::npos);
  std::ofstream(folder.path() / "config.yaml") << "data: [";
  CHECK(refusal_of(folder.path(), RunMode::Resume, config_of()).find("config.yaml is damaged") !=
        std::string::npos);
}

TEST_CASE("two runs never share a folder") {
  const creel_test::TemporaryFolder folder;
  const RunDirectory first = RunDirectory::open(folder.path(), RunMode::Fresh, config_of());
  ProcessTable{{::getpid(), 1}, {}}.write(folder.path());
  const std::string why = refusal_of(folder.path(), RunMode::Overwrite, config_of());
  CHECK(why.find("in use by another run (pid " + std::to_string(::getpid()) + ")") != std::string::npos);
}

TEST_CASE("what a killed launcher left is swept when its folder is opened again") {
  const creel_test::TemporaryFolder folder;
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);  // a number that surely was a process's and is none now
  const fs::path file = "/tmp/.java_pid" + std::to_string(dead);
  touch(file);
  ProcessTable{{dead, 1}, {}}.write(folder.path());
  RunDirectory::open(folder.path(), RunMode::Fresh, config_of());
  CHECK_FALSE(fs::exists(file));
  CHECK_FALSE(fs::exists(folder.path() / "processes.json"));
}

TEST_CASE("a file is no run folder") {
  const creel_test::TemporaryFolder folder;
  touch(folder.path() / "file");
  CHECK(refusal_of(folder.path() / "file", RunMode::Fresh, config_of()).find("is not a folder") !=
        std::string::npos);
}
