#pragma once

#include "exit_file.hpp"

#include <creel/runtime/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace creel::detail {

/// The file /tmp/hsperfdata_USER/PID by which jps, jcmd and jstat find a process: a small memory-mapped table
/// of counters, as a JVM keeps it. The file is locked while its process lives.
class PerfData {
 public:
  struct Options {
    std::string command;  ///< name and arguments
    std::string version;
    std::string folder{};  ///< empty: perf_folder() of our user
  };

  /// Throws IoError if the folder or the file cannot be made, or are not safe (a symlink, another user's).
  explicit PerfData(const Options& options);
  ~PerfData();
  PerfData(const PerfData&) = delete;
  PerfData& operator=(const PerfData&) = delete;

  /// Writes the present values of the counters, the program's gauges among them.
  void update() noexcept;

  /// In a forked child: lets go of the parent's file and its lock.
  void abandon() noexcept;

  const std::string& path() const noexcept { return file_name_.path(); }

 private:
  void create_file(const std::string& path);
  void add_string(std::string_view name, std::string_view value, char variability);
  void update_gauges();
  bool has_room_for(std::string_view name) const noexcept;
  std::int64_t* add_long(std::string_view name, char unit, char variability);
  char* add_entry(std::string_view name, char type, char unit, char variability, std::size_t data_size,
                  bool vector);

  UniqueFd fd_;
  ExitFile file_name_;
  char* table_ = nullptr;
  std::int64_t* live_ = nullptr;
  std::int64_t* peak_ = nullptr;
  std::int64_t* started_ = nullptr;
  std::int64_t* daemon_ = nullptr;
  std::int64_t* virtual_ = nullptr;
  std::int64_t* contended_ = nullptr;
  std::int64_t *pins_ = nullptr, *pinned_ = nullptr, *longest_pin_ = nullptr;
  std::map<std::string, std::int64_t*> gauges_;  // null: the table has no room for it
};

/// One entry of a file of /tmp/hsperfdata_USER: a text or a number.
struct PerfEntry {
  std::string name;
  std::string text;
  std::optional<std::int64_t> number;
};
/// Whatever the file in the open `folder` holds; nothing if it is none, a link, or not readable.
std::vector<PerfEntry> read_perf_entries(int folder, const std::string& name);

/// What such a file says of its process: its sun.rt.javaCommand; empty if it is none or not readable.
std::string read_perf_command(int folder, const std::string& name);

/// The folder of the user with that id: `/tmp/hsperfdata_NAME`.
std::string perf_folder(unsigned uid);

}  // namespace creel::detail
