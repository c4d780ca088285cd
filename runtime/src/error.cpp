#include <creel/runtime/error.hpp>

#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace creel {

int exit_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::Config:
      return 2;
    case ErrorCode::Missing:
      return 3;
    case ErrorCode::Data:
      return 4;
    case ErrorCode::RankLost:
      return 5;
    case ErrorCode::Failed:
    case ErrorCode::Io:
    case ErrorCode::Interrupted:
    case ErrorCode::Cancelled:
    case ErrorCode::Timeout:
    case ErrorCode::Rejected:
      return 1;
  }
  return 1;
}

namespace {

std::string config_message(const std::string& file, int line, int column, const std::string& message) {
  std::string place = file;
  if (line > 0) place += ":" + std::to_string(line) + ":" + std::to_string(column);
  return place.empty() ? message : place + ": " + message;
}

std::string io_message(std::string_view what, std::string_view path, int error_number) {
  std::string text(what);
  if (!path.empty()) text.append(": ").append(path);
  return text + ": " + std::generic_category().message(error_number);
}

}  // namespace

Error::Error(const std::string& message, ErrorCode code, std::source_location where)
    : std::runtime_error(message), code_(code), where_(where) {}

ConfigError::ConfigError(std::string file, int line, int column, const std::string& message,
                         std::source_location where)
    : Error(config_message(file, line, column, message), ErrorCode::Config, where),
      file_(std::move(file)),
      line_(line),
      column_(column) {}

IoError::IoError(std::string_view what, std::string_view path, int error_number, std::source_location where)
    : Error(io_message(what, path, error_number), ErrorCode::Io, where), error_number_(error_number) {}

InterruptedError::InterruptedError(const std::string& what, std::source_location where)
    : Error(what, ErrorCode::Interrupted, where) {}

CancelledError::CancelledError(const std::string& what, std::source_location where)
    : Error(what, ErrorCode::Cancelled, where) {}

TimeoutError::TimeoutError(const std::string& what, std::source_location where)
    : Error(what, ErrorCode::Timeout, where) {}

RejectedError::RejectedError(const std::string& what, std::source_location where)
    : Error(what, ErrorCode::Rejected, where) {}

CommError::CommError(int rank, int peer, std::string operation, const std::string& message,
                     std::source_location where)
    : Error("rank " + std::to_string(rank) + ": " + operation + ": " + message, ErrorCode::RankLost, where),
      rank_(rank),
      peer_(peer),
      operation_(std::move(operation)) {}

namespace detail {

void assert_failed(const char* condition, const char* why, std::source_location where) {
  std::fprintf(stderr, "%s:%u: %s: CREEL_ASSERT(%s): %s\n", where.file_name(), where.line(),
               where.function_name(), condition, why);
  std::abort();
}

}  // namespace detail
}  // namespace creel
