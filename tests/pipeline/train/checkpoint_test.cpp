#include <creel/models/functional.hpp>
#include <creel/pipeline/train/checkpoint.hpp>
#include <creel/runtime/error.hpp>

#include <creel_test/temporary_folder.hpp>
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>

using creel::pipeline::Checkpoint;
using creel::pipeline::CheckpointStore;
namespace nn = creel::nn;

namespace {

Checkpoint make(std::int64_t step, double value) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.add("model", {{"weight", nn::full({2, 3}, value)}, {"bias", nn::full({3}, -value)}});
  checkpoint.add("rank0", {{"generator", nn::zeros({4}, at::kByte)}});
  checkpoint.facts["train.seed"] = "7";
  return checkpoint;
}

float first(const at::Tensor& tensor) { return *tensor.const_data_ptr<float>(); }

}  // namespace

TEST_CASE("a checkpoint comes back part by part") {
  const creel_test::TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2, true);
  store.save(make(10, 0.5));
  store.flush();
  const Checkpoint loaded = store.load(10);
  CHECK(loaded.part("model").size() == 2);
  CHECK(first(loaded.part("model").at("weight")) == 0.5f);
  CHECK(loaded.part("rank0").contains("generator"));
  CHECK(loaded.fact("train.seed") == "7");
  CHECK_THROWS_WITH_AS(loaded.fact("nothing"), doctest::Contains("lacks 'nothing'"), creel::Error);
}

TEST_CASE("what is saved is the state at the call, whatever the run does next") {
  const creel_test::TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2, true);
  const Checkpoint checkpoint = make(10, 1.0);
  store.save(checkpoint);
  checkpoint.tensors.at("model.weight").fill_(2.0);
  store.flush();
  CHECK(first(store.load(10).part("model").at("weight")) == 1.0f);
}

TEST_CASE("the newest ones are kept, and only whole files count") {
  const creel_test::TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2, true);
  CHECK_FALSE(store.latest().has_value());
  for (const std::int64_t step : {10, 20, 30}) store.save(make(step, 1));
  store.flush();
  std::ofstream(folder.path() / "checkpoints/step-00000040.safetensors.tmp") << "half a file";
  std::ofstream(folder.path() / "checkpoints/notes.txt") << "not a checkpoint";
  CHECK(store.latest() == 30);
  CHECK_FALSE(std::filesystem::exists(folder.path() / "checkpoints/step-00000010.safetensors"));
  CHECK(std::filesystem::exists(folder.path() / "checkpoints/step-00000020.safetensors"));
}

TEST_CASE("a damaged checkpoint is refused by name") {
  const creel_test::TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2, true);
  store.save(make(10, 1));
  store.flush();
  const std::filesystem::path file = folder.path() / "checkpoints/step-00000010.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1);
  CHECK_THROWS_WITH_AS(store.load(10), doctest::Contains("step-00000010.safetensors"), creel::Error);
}

TEST_CASE("a failed write is told by the next call") {
  const creel_test::TemporaryFolder folder;
  CheckpointStore store(folder.path(), 2, true);
  std::filesystem::remove_all(folder.path() / "checkpoints");
  store.save(make(10, 1));
  CHECK_THROWS_AS(store.flush(), creel::IoError);
  CHECK_NOTHROW(store.flush());
}
