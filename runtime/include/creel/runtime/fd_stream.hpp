#pragma once

#include <creel/runtime/byte_stream.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <memory>
#include <string>

namespace creel {

namespace detail {
class Descriptor;
}

/// A ByteStream over a descriptor that the system can watch: a pipe, a socket, a terminal. (A file on a disk
/// is always ready; reading one belongs into blocking().)
///
///     creel::Pipe pipe = creel::Pipe::open();
///     creel::Thread writer = creel::Thread::of_virtual().start([&] {
///       pipe.sink.write_all("through");
///       pipe.sink.close();
///     });
///     CHECK(pipe.source.read_all_bytes() == "through");
///
/// Move-only; the destructor closes. Nobody may use it while it is moved from or destroyed; close() is how
/// another thread ends it.
class FdStream : public ByteStream {
 public:
  /// Closed; only assignment, close() and is_open() are defined on it.
  FdStream() noexcept;
  /// Takes `fd` over and makes its open file non-blocking, for all who share it. `name` stands in messages
  /// and dumps.
  FdStream(UniqueFd fd, std::string name);
  FdStream(FdStream&& other) noexcept;
  FdStream& operator=(FdStream&& other) noexcept;
  ~FdStream() override;

  std::size_t read(std::span<std::byte> buffer, Deadline deadline = {}) override;
  std::size_t write_some(std::span<const std::byte> data, Deadline deadline = {}) override;
  void shutdown_output() override;
  void close() noexcept override;
  bool is_open() const noexcept override;

  /// What messages and dumps call it: of a socket, the other side's address.
  const std::string& name() const noexcept;

 protected:
  FdStream(UniqueFd fd, const char* type, std::string name);
  detail::Descriptor& descriptor() const;  // throws Error on one that was default-constructed or moved from

 private:
  struct State;
  State& state() const;

  std::unique_ptr<State> state_;
};

/// Two ends of a pipe: what is written to `sink` is read from `source`. java.nio.channels.Pipe.
struct Pipe {
  FdStream source;
  FdStream sink;

  /// Throws IoError if the process has no descriptors left.
  static Pipe open(const std::string& name = "pipe");
};

}  // namespace creel
