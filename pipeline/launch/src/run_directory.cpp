#include <creel/pipeline/config/config_loader.hpp>
#include <creel/pipeline/config/config_printer.hpp>
#include <creel/pipeline/launch/process_table.hpp>
#include <creel/pipeline/launch/run_directory.hpp>
#include <creel/runtime/atomic_file.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/management/attach_client.hpp>

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <string>
#include <vector>

namespace creel::pipeline {
namespace {

namespace fs = std::filesystem;

// Any of these says that the folder holds a run.
constexpr const char* kRunMarks[] = {"config.yaml", "checkpoints", "metrics.jsonl"};

// All that a run writes. --overwrite removes these and nothing else: the folder may be one that the user
// keeps more in.
constexpr const char* kRunFiles[] = {"config.yaml",
                                     "checkpoints",
                                     "metrics.jsonl",
                                     "model.safetensors",
                                     "config.json",
                                     "vocab.json",
                                     "merges.txt",
                                     "tokenizer.json",
                                     "tokenizer_config.json",
                                     "special_tokens_map.json",
                                     "preprocessor_config.json",
                                     "processes.json"};

Error refusal(const fs::path& path, const std::string& why) {
  return Error(path.string() + " " + why, ErrorCode::Config);
}

std::string marks_in(const fs::path& path) {
  std::string found;
  for (const char* mark : kRunMarks) {
    if (fs::exists(path / mark)) found += (found.empty() ? "" : ", ") + std::string(mark);
  }
  return found;
}

// The lock is on the folder itself, so that it leaves no file, and goes when the process does, however it
// ends.
UniqueFd lock_folder(const fs::path& path) {
  UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) throw IoError("cannot open the run folder", path.string(), errno);
  if (::flock(folder.get(), LOCK_EX | LOCK_NB) == 0) return folder;
  if (errno != EWOULDBLOCK) throw IoError("cannot lock the run folder", path.string(), errno);
  const auto table = ProcessTable::read(path);
  throw refusal(path, "is in use by another run" +
                          (table ? " (pid " + std::to_string(table->launcher.pid) + ")" : "") +
                          "; wait for it, or give another --out");
}

void check_same_numbers(const fs::path& path, const RunConfig& config) {
  if (!fs::exists(path / "config.yaml")) return;
  LoadOptions options;
  options.check_files = false;  // those of the new configuration were checked
  RunConfig saved;
  try {
    saved = load_config(path / "config.yaml", options).config;
  } catch (const ConfigError& e) {
    throw refusal(path, "cannot be resumed, its config.yaml is damaged; repair it or use --overwrite:\n" +
                            std::string(e.what()));
  }
  std::string keys;
  for (const std::string& key : keys_that_forbid_resume(saved, config))
    keys += (keys.empty() ? "" : ", ") + key;
  if (keys.empty()) return;
  throw refusal(
      path,
      "was started with other values of " + keys +
          "; resume it with those (they stand in its config.yaml), or use --overwrite or another --out");
}

// A launcher that was killed could not clean up after itself and its ranks.
void sweep_dead_run(const fs::path& path) {
  const auto table = ProcessTable::read(path);
  if (!table) return;
  std::vector<ProcessIdentity> all = table->ranks;
  all.push_back(table->launcher);
  for (const ProcessIdentity& process : all) {
    if (!ProcessIdentity::of(process.pid)) remove_leftovers(process.pid);
  }
  ProcessTable::remove(path);
}

}  // namespace

RunDirectory RunDirectory::open(const fs::path& path, RunMode mode, const RunConfig& config) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::exists(status) && !fs::is_directory(status))
    throw refusal(path, "is not a folder; give another --out");
  fs::create_directories(path, error);
  if (error) throw IoError("cannot make the run folder", path.string(), error.value());
  RunDirectory directory(path, lock_folder(path));

  const std::string marks = marks_in(path);
  if (mode == RunMode::Fresh && !marks.empty()) {
    throw refusal(path, "already holds a run (" + marks +
                            "); go on with it by --resume, replace it by --overwrite, or give another --out");
  }
  if (mode == RunMode::Resume) check_same_numbers(path, config);
  sweep_dead_run(path);
  if (mode == RunMode::Overwrite) {
    for (const char* name : kRunFiles) fs::remove_all(path / name);
  }
  write_file_atomically(path / "config.yaml", to_yaml(config));
  return directory;
}

}  // namespace creel::pipeline
