#pragma once

#include <creel/runtime/deadline.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace creel::detail {

/// What a client of the attach socket asked for.
struct AttachRequest {
  std::string command;
  std::vector<std::string> arguments;
};

struct AttachReply {
  int status = 0;
  std::string text;
};

/// Takes bytes until a request is whole. Versions 1 and 2 of HotSpot's protocol.
class AttachRequestParser {
 public:
  enum class State : std::uint8_t { Incomplete, Complete, BadVersion, Malformed };

  State feed(std::string_view bytes);
  bool empty() const noexcept { return received_.empty(); }
  const AttachRequest& request() const noexcept { return request_; }

 private:
  State parse_first_version(std::size_t begin);
  State parse_second_version(std::size_t begin);

  std::string received_;
  AttachRequest request_;
};

/// Waits until `fd` can be read or written (`events` of poll), or `stop` can be read. False at the deadline,
/// at stop, or if the peer is gone.
bool wait_ready(int fd, short events, int stop, Deadline deadline) noexcept;

/// Writes all of `text` to a socket; false at the deadline, at stop, or if the peer does not want it.
bool write_all(int fd, std::string_view text, int stop, Deadline deadline) noexcept;

}  // namespace creel::detail
