#include "attach_request.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>

namespace creel::detail {
namespace {

// HotSpot's limits.
constexpr std::size_t kLongestCommand = 16;
constexpr std::size_t kLongestArgument = 1024;
constexpr std::size_t kArguments = 3;
constexpr std::size_t kLargestPayload = 256 * 1024;

}  // namespace

AttachRequestParser::State AttachRequestParser::feed(std::string_view bytes) {
  received_.append(bytes);
  const std::size_t end = received_.find('\0');
  if (end == std::string::npos) return received_.size() > 8 ? State::BadVersion : State::Incomplete;
  const std::string_view version = std::string_view(received_).substr(0, end);
  if (version == "1") return parse_first_version(end + 1);
  if (version == "2") return parse_second_version(end + 1);
  return State::BadVersion;
}

// COMMAND \0 ARG \0 ARG \0 ARG \0
AttachRequestParser::State AttachRequestParser::parse_first_version(std::size_t begin) {
  AttachRequest request;
  for (std::size_t field = 0; field <= kArguments; ++field) {
    const std::size_t limit = field == 0 ? kLongestCommand : kLongestArgument;
    const std::size_t end = received_.find('\0', begin);
    if ((end == std::string::npos ? received_.size() : end) - begin > limit) return State::Malformed;
    if (end == std::string::npos) return State::Incomplete;
    std::string text = received_.substr(begin, end - begin);
    if (field == 0) {
      request.command = std::move(text);
    } else {
      request.arguments.push_back(std::move(text));
    }
    begin = end + 1;
  }
  request_ = std::move(request);
  return State::Complete;
}

// SIZE \0, then SIZE bytes: COMMAND [blank OPTIONS] \0 (ARG \0)…
AttachRequestParser::State AttachRequestParser::parse_second_version(std::size_t begin) {
  const std::size_t end = received_.find('\0', begin);
  if (end == std::string::npos) return received_.size() - begin > 8 ? State::Malformed : State::Incomplete;
  std::size_t size = 0;
  const char* digits = received_.data() + begin;
  const auto [stopped, error] = std::from_chars(digits, received_.data() + end, size);
  if (error != std::errc{} || stopped != received_.data() + end || size == 0 || size > kLargestPayload) {
    return State::Malformed;
  }
  if (received_.size() - (end + 1) < size) return State::Incomplete;
  std::string_view payload = std::string_view(received_).substr(end + 1, size);
  if (payload.back() != '\0') return State::Malformed;
  std::vector<std::string> fields;
  while (!payload.empty()) {
    const std::size_t length = payload.find('\0');
    fields.emplace_back(payload.substr(0, length));
    payload.remove_prefix(length + 1);
  }
  request_.command = fields[0].substr(0, fields[0].find(' '));
  request_.arguments.assign(fields.begin() + 1, fields.end());
  request_.arguments.resize(std::max(request_.arguments.size(), kArguments));
  return State::Complete;
}

bool wait_ready(int fd, short events, int stop, Deadline deadline) noexcept {
  for (;;) {
    std::array<pollfd, 2> waits{{{fd, events, 0}, {stop, POLLIN, 0}}};
    int timeout = -1;
    if (!deadline.is_never()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.remaining()).count();
      timeout = static_cast<int>(std::min<std::int64_t>(left, 1'000'000));
    }
    const int ready = ::poll(waits.data(), stop >= 0 ? 2 : 1, timeout);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || (stop >= 0 && waits[1].revents != 0)) return false;
    return (waits[0].revents & (events | POLLHUP | POLLERR)) != 0;
  }
}

bool write_all(int fd, std::string_view text, int stop, Deadline deadline) noexcept {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      text.remove_prefix(static_cast<std::size_t>(sent));
    } else if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (!wait_ready(fd, POLLOUT, stop, deadline)) return false;
    } else if (sent < 0 && errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace creel::detail
