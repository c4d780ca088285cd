#include "../thread_record.hpp"
#include "descriptor.hpp"
#include "system_call.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/fd_stream.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace creel {

using detail::Ready;
using detail::ReadyOutcome;

struct FdStream::State {
  State(UniqueFd fd, const char* type, std::string name)
      : waiting_for_data("data from " + name),
        waiting_for_room("room to send to " + name),
        descriptor(std::move(fd), type, std::move(name)) {}

  // As dumps show it.
  const std::string waiting_for_data;
  const std::string waiting_for_room;
  detail::Descriptor descriptor;
};

namespace {

// `what`: "data from 127.0.0.1:5000".
void require_ready(ReadyOutcome outcome, const detail::Descriptor& descriptor, const std::string& what) {
  switch (outcome) {
    case ReadyOutcome::Ready:
      return;
    case ReadyOutcome::TimedOut:
      throw TimeoutError("no " + what + " before the deadline");
    case ReadyOutcome::Interrupted:
      throw InterruptedError("interrupted while waiting for " + what);
    case ReadyOutcome::Closed:
      throw IoError("the stream was closed on this side", descriptor.peer(), EBADF);
  }
}

}  // namespace

FdStream::FdStream() noexcept = default;
FdStream::FdStream(UniqueFd fd, std::string name)
    : FdStream(std::move(fd), "creel::FdStream", std::move(name)) {}
FdStream::FdStream(UniqueFd fd, const char* type, std::string name)
    : state_(std::make_unique<State>(std::move(fd), type, std::move(name))) {}
FdStream::FdStream(FdStream&& other) noexcept = default;
FdStream& FdStream::operator=(FdStream&& other) noexcept = default;
FdStream::~FdStream() = default;

FdStream::State& FdStream::state() const {
  if (state_ == nullptr)
    throw IoError("the stream is not open: redirected elsewhere, or moved from", "", EBADF);
  return *state_;
}

detail::Descriptor& FdStream::descriptor() const { return state().descriptor; }
const std::string& FdStream::name() const noexcept {
  static const std::string none;
  return state_ != nullptr ? state_->descriptor.peer() : none;
}
bool FdStream::is_open() const noexcept { return state_ != nullptr && !state_->descriptor.is_closed(); }
void FdStream::close() noexcept {
  if (state_ != nullptr) state_->descriptor.close();
}

std::size_t FdStream::read(std::span<std::byte> buffer, Deadline deadline) {
  State& its = state();
  if (buffer.empty()) return 0;
  ssize_t got = 0;
  const ReadyOutcome outcome =
      its.descriptor.when_ready(Ready::Read, its.waiting_for_data.c_str(), deadline, [&](int fd) {
        got = detail::read_some(fd, buffer);
        return got != -EAGAIN;
      });
  require_ready(outcome, its.descriptor, its.waiting_for_data);
  if (got < 0) throw IoError("read", name(), static_cast<int>(-got));
  return static_cast<std::size_t>(got);
}

std::size_t FdStream::write_some(std::span<const std::byte> data, Deadline deadline) {
  State& its = state();
  if (data.empty()) return 0;
  ssize_t written = 0;
  const ReadyOutcome outcome =
      its.descriptor.when_ready(Ready::Write, its.waiting_for_room.c_str(), deadline, [&](int fd) {
        written = detail::write_some(fd, data, its.descriptor.is_socket());
        return written != -EAGAIN;
      });
  require_ready(outcome, its.descriptor, its.waiting_for_room);
  if (written < 0) throw IoError("write", name(), static_cast<int>(-written));
  return static_cast<std::size_t>(written);
}

void FdStream::shutdown_output() {
  detail::Descriptor& its = descriptor();
  if (!its.is_socket()) return its.close();
  int error = 0;
  const bool open = its.with_fd([&](int fd) {
    // A peer that has gone already is told nothing.
    if (::shutdown(fd, SHUT_WR) != 0 && errno != ENOTCONN) error = errno;
  });
  if (!open) error = EBADF;
  if (error != 0) throw IoError("shut down the output", name(), error);
}

Pipe Pipe::open(const std::string& name) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) throw IoError("make a pipe", name, errno);
  UniqueFd source(ends[0]);
  UniqueFd sink(ends[1]);
  return {FdStream(std::move(source), name), FdStream(std::move(sink), name)};
}

}  // namespace creel
