#include <creel/pipeline/launch/process_table.hpp>
#include <creel/runtime/atomic_file.hpp>
#include <creel/runtime/process_handle.hpp>

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

namespace creel::pipeline {
namespace {

using Json = nlohmann::ordered_json;

std::filesystem::path table_file(const std::filesystem::path& run_dir) { return run_dir / "processes.json"; }

Json to_json(const ProcessIdentity& process) {
  return {{"pid", process.pid}, {"start_ticks", process.start_ticks}};
}

ProcessIdentity identity_from(const Json& json) {
  return {json.at("pid").get<pid_t>(), json.at("start_ticks").get<std::uint64_t>()};
}

}  // namespace

std::optional<ProcessIdentity> ProcessIdentity::of(pid_t pid) {
  const auto process = ProcessHandle::of(pid);
  if (!process || !process->is_alive()) return std::nullopt;  // a zombie has no threads to speak to
  return ProcessIdentity{pid, process->start_ticks()};
}

bool ProcessIdentity::is_alive() const {
  const auto now = of(pid);
  return now && now->start_ticks == start_ticks;
}

void ProcessTable::write(const std::filesystem::path& run_dir) const {
  Json json{{"launcher", to_json(launcher)}, {"ranks", Json::array()}};
  for (const ProcessIdentity& rank : ranks) json["ranks"].push_back(to_json(rank));
  write_file_atomically(table_file(run_dir), json.dump(2) + "\n");
}

std::optional<ProcessTable> ProcessTable::read(const std::filesystem::path& run_dir) {
  std::ifstream file(table_file(run_dir));
  if (!file) return std::nullopt;
  try {
    const Json json = Json::parse(file);
    ProcessTable table{identity_from(json.at("launcher")), {}};
    for (const Json& rank : json.at("ranks")) table.ranks.push_back(identity_from(rank));
    return table;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

void ProcessTable::remove(const std::filesystem::path& run_dir) noexcept {
  std::error_code ignored;
  std::filesystem::remove(table_file(run_dir), ignored);
}

}  // namespace creel::pipeline
