#pragma once

#include <creel/models/tensor_map.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace creel::pipeline {

/// Everything that a run needs to go on bit for bit from the end of step `step`.
///
/// `tensors` holds each part under its own prefix: model.*, optimizer.*, objective.* (queues, momentum
/// towers), and what differs by rank as rank0.*, rank1.*: the generator's state among it. `facts` are what
/// must be the same when the run goes on (seed, ranks, batch, threads) and where the sampler stood.
struct Checkpoint {
  std::int64_t step = 0;
  nn::TensorMap tensors;
  std::map<std::string, std::string> facts;

  /// The tensors below `prefix.`, under the rest of their names.
  nn::TensorMap part(std::string_view prefix) const;
  /// Adds tensors under `prefix.`; they share memory with the source.
  void add(std::string_view prefix, const nn::TensorMap& part);
  /// A fact; throws Error of code Data naming it if it is not there.
  const std::string& fact(const std::string& name) const;
};

/// The checkpoints of a run folder: RUN_DIR/checkpoints/step-00000010.safetensors.
///
/// Each is written to a temporary file, synced and renamed: at any moment, also after a kill or on a full
/// disk, every file of that name is whole. save() copies the tensors and returns; one thread, `checkpoint-0`,
/// writes. Not for several threads at once.
class CheckpointStore {
 public:
  /// Keeps the newest `keep` files, at least 1. Makes the folder if `writable`.
  CheckpointStore(const std::filesystem::path& run_dir, std::int64_t keep, bool writable);
  /// Waits for the write in progress.
  ~CheckpointStore();
  CheckpointStore(const CheckpointStore&) = delete;
  CheckpointStore& operator=(const CheckpointStore&) = delete;

  /// Takes a copy and has it written; first waits for the write before it. Throws what that one failed with:
  /// IoError with path and bytes.
  void save(const Checkpoint& checkpoint);
  /// Waits until everything is on disk; throws what the last write failed with.
  void flush();

  /// The step of the newest checkpoint; nullopt if there is none.
  std::optional<std::int64_t> latest() const;
  /// Reads one. Throws Error of code Data naming the file if it is damaged.
  Checkpoint load(std::int64_t step) const;

 private:
  struct Writer;
  std::filesystem::path path_of(std::int64_t step) const;

  std::filesystem::path folder_;
  std::int64_t keep_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace creel::pipeline
