#include "metrics_log.hpp"

#include <creel/runtime/error.hpp>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>

namespace creel::pipeline {
namespace {

constexpr const char* kFileName = "metrics.jsonl";

/// Whether a line belongs to a history that ends after `step`.
bool line_is_kept(const std::string& line, std::int64_t step) {
  const nlohmann::json record = nlohmann::json::parse(line, nullptr, false);
  if (!record.is_object()) return false;
  const std::string event = record.value("event", "");
  return (event == "step" || event == "resume") && record.value("step", std::int64_t{0}) <= step;
}

/// Bytes of the file that a run continuing after `step` keeps: whole lines up to the first that is not.
off_t kept_bytes(const std::filesystem::path& path, std::int64_t step) {
  std::ifstream in(path, std::ios::binary);
  off_t kept = 0;
  std::string line;
  while (std::getline(in, line) && !in.eof()) {  // a line without its end of line sets eof: torn
    if (!line_is_kept(line, step)) break;
    kept += static_cast<off_t>(line.size()) + 1;
  }
  return kept;
}

/// JSON has no NaN or infinity: a diverged loss is written as null, which a reader cannot mistake for a
/// number.
std::string json_number(double value, const char* format) {
  if (!std::isfinite(value)) return "null";
  std::array<char, 40> text{};
  const int used = std::snprintf(text.data(), text.size(), format, value);
  return {text.data(), static_cast<std::size_t>(used)};
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& run_dir, std::int64_t step) : path_(run_dir / kFileName) {
  fd_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd_) throw IoError("cannot open the metrics file", path_.string(), errno);
  const off_t kept = step > 0 ? kept_bytes(path_, step) : 0;
  if (::ftruncate(fd_.get(), kept) != 0) throw IoError("cannot cut the metrics file", path_.string(), errno);
}

void MetricsLog::step(const Step& record) {
  const std::string line = R"({"event":"step","step":)" + std::to_string(record.step) + R"(,"epoch":)" +
                           std::to_string(record.epoch) + R"(,"loss":)" + json_number(record.loss, "%.17g") +
                           R"(,"images_per_s":)" + json_number(record.images_per_s, "%.1f") + "}\n";
  write_line(line.data(), line.size());
}

void MetricsLog::resume(std::int64_t step) {
  const std::string line = R"({"event":"resume","step":)" + std::to_string(step) + "}\n";
  write_line(line.data(), line.size());
}

void MetricsLog::result(const Result& record) {
  std::string line = R"({"event":"result")";
  if (record.zero_shot_top1 >= 0)
    line += R"(,"zero_shot_top1":)" + json_number(record.zero_shot_top1, "%.6g");
  line += R"(,"images_per_s":)" + json_number(record.images_per_s, "%.1f") + R"(,"seconds":)" +
          json_number(record.seconds, "%.3f") + R"(,"bad_samples":)" + std::to_string(record.bad_samples) +
          "}\n";
  write_line(line.data(), line.size());
}

void MetricsLog::write_line(const char* text, std::size_t size) {
  const off_t start = ::lseek(fd_.get(), 0, SEEK_END);
  ssize_t written = 0;
  do {
    written = ::write(fd_.get(), text, size);
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(size)) return;
  const int error_number = written < 0 ? errno : ENOSPC;
  // Half a line on a full disk would glue itself to the next one.
  if (start >= 0) [[maybe_unused]]
    const int ignored = ::ftruncate(fd_.get(), start);
  throw IoError("cannot write " + std::to_string(size) + " bytes of metrics", path_.string(), error_number);
}

bool has_result(const std::filesystem::path& run_dir) {
  std::ifstream in(run_dir / kFileName, std::ios::binary);
  std::string line;
  std::string last;
  while (std::getline(in, line)) last = line;
  const nlohmann::json record = nlohmann::json::parse(last, nullptr, false);
  return record.is_object() && record.value("event", "") == "result";
}

}  // namespace creel::pipeline
