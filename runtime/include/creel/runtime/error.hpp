#pragma once

#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace creel {

/// What kind of failure an Error is; decides the exit code of a program that ends by it.
enum class ErrorCode : std::uint8_t {
  Failed,       ///< anything without a kind of its own: exit 1
  Config,       ///< bad configuration or usage: exit 2
  Missing,      ///< a dependency or an input that is not there: exit 3
  Data,         ///< bad data: exit 4
  RankLost,     ///< a peer process died or the group was aborted: exit 5
  Io,           ///< the operating system refused: exit 1
  Interrupted,  ///< Thread::interrupt() while blocked
  Cancelled,    ///< the work was cancelled before it finished
  Timeout,      ///< a Deadline passed
  Rejected,     ///< an executor or a closed queue took nothing more
};

/// Exit code of a program that ends by an error of this kind.
int exit_code(ErrorCode code) noexcept;

/// Root of everything that creel throws. The message says what, which value, and what to do.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, ErrorCode code = ErrorCode::Failed,
                 std::source_location where = std::source_location::current());

  ErrorCode code() const noexcept { return code_; }
  const std::source_location& where() const noexcept { return where_; }

 private:
  ErrorCode code_;
  std::source_location where_;
};

/// A bad value in a configuration file, with its place. line and column count from 1; 0 means unknown.
class ConfigError : public Error {
 public:
  ConfigError(std::string file, int line, int column, const std::string& message,
              std::source_location where = std::source_location::current());

  const std::string& file() const noexcept { return file_; }
  int line() const noexcept { return line_; }
  int column() const noexcept { return column_; }

 private:
  std::string file_;
  int line_;
  int column_;
};

/// A failed system call: `what: path: strerror`.
class IoError : public Error {
 public:
  IoError(std::string_view what, std::string_view path, int error_number,
          std::source_location where = std::source_location::current());

  int error_number() const noexcept { return error_number_; }

 private:
  int error_number_;
};

/// A blocking call was ended by Thread::interrupt(). The interrupt status is clear when this is thrown.
class InterruptedError : public Error {
 public:
  explicit InterruptedError(const std::string& what,
                            std::source_location where = std::source_location::current());
};

class CancelledError : public Error {
 public:
  explicit CancelledError(const std::string& what,
                          std::source_location where = std::source_location::current());
};

class TimeoutError : public Error {
 public:
  explicit TimeoutError(const std::string& what,
                        std::source_location where = std::source_location::current());
};

class RejectedError : public Error {
 public:
  explicit RejectedError(const std::string& what,
                         std::source_location where = std::source_location::current());
};

/// A collective operation failed: which rank noticed, which peer is at fault (-1: unknown), in what
/// operation.
class CommError : public Error {
 public:
  CommError(int rank, int peer, std::string operation, const std::string& message,
            std::source_location where = std::source_location::current());

  int rank() const noexcept { return rank_; }
  int peer() const noexcept { return peer_; }
  const std::string& operation() const noexcept { return operation_; }

 private:
  int rank_;
  int peer_;
  std::string operation_;
};

namespace detail {
[[noreturn]] void assert_failed(const char* condition, const char* why, std::source_location where);
}

}  // namespace creel

/// Checks a programmer's promise in the presets dev, asan and tsan; nothing in a release build.
#ifdef CREEL_ASSERTS
#define CREEL_ASSERT(condition, why) \
  ((condition) ? void() : ::creel::detail::assert_failed(#condition, why, std::source_location::current()))
#else
#define CREEL_ASSERT(condition, why) void(sizeof(!(condition)))
#endif
