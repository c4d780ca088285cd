#include <creel/models/safetensors.hpp>
#include <creel/pipeline/train/checkpoint.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/log.hpp>
#include <creel/runtime/thread.hpp>

#include <algorithm>
#include <charconv>
#include <exception>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace creel::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kSuffix = ".safetensors";
constexpr const char* kStepFact = "step";

/// The step in a checkpoint's file name; nullopt for any other name, a temporary file's too.
std::optional<std::int64_t> step_of(std::string_view name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return step;
}

std::string file_name(std::int64_t step) {
  std::string digits = std::to_string(step);
  if (digits.size() < 8) digits.insert(0, 8 - digits.size(), '0');  // so that a listing sorts by step
  return std::string(kPrefix) + digits + std::string(kSuffix);
}

std::vector<std::int64_t> steps_in(const fs::path& folder) {
  std::vector<std::int64_t> steps;
  std::error_code ignored;  // no folder: no checkpoints
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    if (const auto step = step_of(entry.path().filename().string())) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

/// Leaves the newest `keep` checkpoints up to `newest`. Those of later steps stay: a run that was resumed
/// from an older one overwrites them as it gets there.
void remove_old(const fs::path& folder, std::int64_t newest, std::int64_t keep) {
  std::vector<std::int64_t> steps = steps_in(folder);
  std::erase_if(steps, [newest](std::int64_t step) { return step > newest; });
  for (std::size_t i = 0; i + static_cast<std::size_t>(keep) < steps.size(); ++i) {
    std::error_code ignored;  // an old file that stays costs room, not correctness
    fs::remove(folder / file_name(steps[i]), ignored);
  }
}

nn::TensorMap copy_of(const nn::TensorMap& tensors) {
  nn::TensorMap copy;
  for (const nn::NamedTensor& entry : tensors) copy.set(entry.name, entry.tensor.detach().clone());
  return copy;
}

}  // namespace

nn::TensorMap Checkpoint::part(std::string_view prefix) const {
  nn::TensorMap found;
  const std::string start = std::string(prefix) + ".";
  for (const nn::NamedTensor& entry : tensors) {
    if (entry.name.starts_with(start)) found.set(entry.name.substr(start.size()), entry.tensor);
  }
  return found;
}

void Checkpoint::add(std::string_view prefix, const nn::TensorMap& part) {
  for (const nn::NamedTensor& entry : part) tensors.set(std::string(prefix) + "." + entry.name, entry.tensor);
}

const std::string& Checkpoint::fact(const std::string& name) const {
  const auto found = facts.find(name);
  if (found == facts.end())
    throw Error("the checkpoint of step " + std::to_string(step) + " lacks '" + name + "'", ErrorCode::Data);
  return found->second;
}

/// The write in progress: at most one.
struct CheckpointStore::Writer {
  Thread thread;
  std::exception_ptr failure;  // written by the thread, read after join()

  void wait() {
    if (!thread) return;
    thread.join();
    thread = Thread();
    if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
  }
};

CheckpointStore::CheckpointStore(const fs::path& run_dir, std::int64_t keep, bool writable)
    : folder_(run_dir / "checkpoints"),
      keep_(std::max<std::int64_t>(keep, 1)),
      writer_(std::make_unique<Writer>()) {
  if (!writable) return;
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) throw IoError("cannot make the folder", folder_.string(), error.value());
}

CheckpointStore::~CheckpointStore() {
  try {
    writer_->wait();
  } catch (const std::exception& error) {
    log::error("checkpoint.lost", {{"reason", error.what()}});
  }
}

fs::path CheckpointStore::path_of(std::int64_t step) const { return folder_ / file_name(step); }

void CheckpointStore::save(const Checkpoint& checkpoint) {
  writer_->wait();
  auto copy = std::make_shared<Checkpoint>();
  copy->step = checkpoint.step;
  copy->tensors = copy_of(checkpoint.tensors);
  copy->facts = checkpoint.facts;
  copy->facts[kStepFact] = std::to_string(checkpoint.step);
  Writer* writer = writer_.get();
  writer->thread = Thread::of_platform()
                       .name("checkpoint-0")
                       .start([copy, writer, path = path_of(copy->step), folder = folder_, keep = keep_] {
                         try {
                           const Activity activity{"writing " + path.filename().string()};
                           models::save_safetensors(path, copy->tensors, copy->facts);
                           remove_old(folder, copy->step, keep);
                         } catch (...) {
                           writer->failure = std::current_exception();
                         }
                       });
}

void CheckpointStore::flush() { writer_->wait(); }

std::optional<std::int64_t> CheckpointStore::latest() const {
  const std::vector<std::int64_t> steps = steps_in(folder_);
  if (steps.empty()) return std::nullopt;
  return steps.back();
}

Checkpoint CheckpointStore::load(std::int64_t step) const {
  models::SafeTensors file = models::load_safetensors(path_of(step));
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.tensors = std::move(file.tensors);
  checkpoint.facts = std::move(file.metadata);
  if (checkpoint.fact(kStepFact) != std::to_string(step)) {
    throw Error(
        path_of(step).string() + ": holds step " + checkpoint.fact(kStepFact) + ", not what its name says",
        ErrorCode::Data);
  }
  return checkpoint;
}

}  // namespace creel::pipeline
