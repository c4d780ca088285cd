#include "run_folder.hpp"

#include <creel/models/pretrained.hpp>
#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/data/transform.hpp>
#include <creel/runtime/error.hpp>

#include <string>
#include <system_error>

namespace creel::pipeline {
namespace {

namespace fs = std::filesystem;

void check_files(const fs::path& run_dir) {
  std::error_code ignored;
  if (!fs::is_directory(run_dir, ignored)) {
    throw Error(run_dir.string() + ": no such run folder; give the folder that `creel run` wrote",
                ErrorCode::Missing);
  }
  if (!fs::exists(run_dir / "config.yaml", ignored)) {
    throw Error(run_dir.string() +
                    ": not a run folder, it has no config.yaml; give the folder that `creel run` wrote",
                ErrorCode::Missing);
  }
  if (!fs::exists(run_dir / "model.safetensors", ignored)) {
    const bool begun = fs::exists(run_dir / "checkpoints", ignored);
    const std::string dir = run_dir.string();
    throw Error(dir + "/model.safetensors: not there; " +
                    (begun ? "the run has not ended and has only checkpoints. Finish it with `creel run " +
                                 dir + "/config.yaml --out " + dir + " --resume`"
                           : "the run has not ended"),
                ErrorCode::Missing);
  }
  for (const char* file : {"config.json", "vocab.json", "merges.txt"}) {
    if (!fs::exists(run_dir / file, ignored)) {
      throw Error(
          (run_dir / file).string() + ": not there; the run folder is not whole, copy or write it anew",
          ErrorCode::Missing);
    }
  }
}

/// The tokenizer's own messages name the folder, since two files make it.
std::shared_ptr<const models::Tokenizer> read_tokenizer(const fs::path& run_dir) {
  try {
    return models::load_tokenizer(run_dir);
  } catch (const Error& error) {
    throw Error("the tokenizer of vocab.json and merges.txt cannot be used: " + std::string(error.what()),
                error.code());
  }
}

/// Runs `read`; an Error about the configuration is here one about the data in a run folder, which the user
/// did not write.
template <typename Read>
auto as_data(Read read) {
  try {
    return read();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Config) throw;
    throw Error(error.what(), ErrorCode::Data);
  }
}

}  // namespace

RunFolder read_run_folder(const fs::path& run_dir) {
  check_files(run_dir);
  return as_data([&] {
    LoadOptions options;
    options.transforms = {.names = transform_names(), .check = check_transforms};
    options.check_files = false;  // a run may be served where its data is not
    return RunFolder{.config = load_config(run_dir / "config.yaml", options).config,
                     .tokenizer = read_tokenizer(run_dir),
                     .model = models::load_pretrained(run_dir)};
  });
}

}  // namespace creel::pipeline
