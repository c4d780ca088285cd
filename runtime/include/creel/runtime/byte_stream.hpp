#pragma once

#include <creel/runtime/deadline.hpp>

#include <cstddef>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace creel {

/// Bytes in both directions: a TCP or Unix socket, a pipe, a process's standard streams; what
/// java.io.InputStream and OutputStream are, in one.
///
///     creel::TcpSocket socket = creel::TcpSocket::connect("127.0.0.1", port, 5s);
///     socket.write_all("GET / HTTP/1.0\r\n\r\n");
///     const std::string answer = socket.read_all_bytes();
///
/// Blocking calls honour Deadline (TimeoutError) and interrupt (InterruptedError); on a virtual thread they
/// free its carrier. Neither harms the stream: it can be used on. A thread that waits shows in dumps with the
/// other side's name, `parking to wait for <0x…> (a creel::TcpSocket "data from 127.0.0.1:5000")`.
///
/// One thread may read while another writes; several that do the same share out the bytes among themselves.
/// Any thread may close(). Memory effects: none of its own; bytes that came from another thread of the same
/// process through the system order nothing that a data race detector or this library knows of.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  /// Waits for bytes and takes as many as are there, at most `buffer.size()`. Returns how many, 0 at the end
  /// of the stream (or for an empty buffer). Throws IoError naming the peer if the connection was reset or
  /// the stream closed, TimeoutError, InterruptedError.
  virtual std::size_t read(std::span<std::byte> buffer, Deadline deadline = {}) = 0;
  /// Waits for room and gives as many bytes as fit. Returns how many: at least 1, unless `data` is empty.
  /// Throws as read(); IoError with EPIPE if the peer reads no more (there is no SIGPIPE).
  virtual std::size_t write_some(std::span<const std::byte> data, Deadline deadline = {}) = 0;
  /// Tells the peer that nothing more will come; reading goes on. A pipe is closed by it.
  virtual void shutdown_output() = 0;
  /// Ends the stream. Threads that wait in it throw IoError. May be called again, by any thread.
  virtual void close() noexcept = 0;
  virtual bool is_open() const noexcept = 0;

  /// Gives all of `data`, waiting for room as often as it takes. The TimeoutError says how much had gone.
  void write_all(std::span<const std::byte> data, Deadline deadline = {});
  void write_all(std::string_view text, Deadline deadline = {}) {
    write_all(std::as_bytes(std::span(text)), deadline);
  }
  /// Waits until `buffer` is full or the stream ends; returns how many bytes came.
  std::size_t read_n_bytes(std::span<std::byte> buffer, Deadline deadline = {});
  /// All bytes to the end of the stream.
  std::string read_all_bytes(Deadline deadline = {});
  /// Copies to the end of this stream into `out`; returns how many bytes.
  std::size_t transfer_to(ByteStream& out, Deadline deadline = {});
};

/// The lines of a stream, without their ends ("\n" or "\r\n"); java.io.BufferedReader. Reads ahead: what else
/// is to be read from the stream is read through it. Not for several threads at once.
///
///     creel::LineReader lines(process.standard_output());
///     for (const std::string& line : lines) …
class LineReader {
 public:
  static constexpr std::size_t kLongest = std::size_t{1} << 20;

  /// `longest`: the most bytes that a line may have.
  explicit LineReader(ByteStream& stream, std::size_t longest = kLongest) noexcept
      : stream_(&stream), longest_(longest) {}

  /// Waits for the next line; nullopt at the end of the stream. A last line needs no end. Throws as
  /// ByteStream::read(), and Error(Data) for a line that is too long. What was read of a line stays for the
  /// next call if this one is interrupted or late.
  std::optional<std::string> read_line(Deadline deadline = {});

  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;

    Iterator() = default;
    explicit Iterator(LineReader& reader) : reader_(&reader), line_(reader.read_line()) {}
    std::string& operator*() const noexcept { return *line_; }
    std::string* operator->() const noexcept { return &*line_; }
    Iterator& operator++() {
      line_ = reader_->read_line();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept { return !it.line_; }

   private:
    LineReader* reader_ = nullptr;
    mutable std::optional<std::string> line_;
  };
  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  ByteStream* stream_;
  std::size_t longest_;
  std::string buffer_;
  std::size_t start_ = 0;    // of what has not been given out
  std::size_t scanned_ = 0;  // up to here there is no end of line
  bool ended_ = false;
};

}  // namespace creel
