#include <creel/runtime/byte_stream.hpp>
#include <creel/runtime/error.hpp>

#include <algorithm>
#include <array>

namespace creel {
namespace {

constexpr std::size_t kChunk = 16384;  // a virtual thread's stack is 64 KiB

}  // namespace

void ByteStream::write_all(std::span<const std::byte> data, Deadline deadline) {
  std::size_t done = 0;
  while (done < data.size()) {
    try {
      done += write_some(data.subspan(done), deadline);
    } catch (const TimeoutError& error) {
      if (done == 0) throw;
      throw TimeoutError(std::string(error.what()) + "; " + std::to_string(done) + " of " +
                         std::to_string(data.size()) + " bytes had gone");
    }
  }
}

std::size_t ByteStream::read_n_bytes(std::span<std::byte> buffer, Deadline deadline) {
  std::size_t done = 0;
  while (done < buffer.size()) {
    const std::size_t got = read(buffer.subspan(done), deadline);
    if (got == 0) break;
    done += got;
  }
  return done;
}

std::string ByteStream::read_all_bytes(Deadline deadline) {
  std::string all;
  std::array<std::byte, kChunk> chunk;
  for (;;) {
    const std::size_t got = read(chunk, deadline);
    if (got == 0) return all;
    all.append(reinterpret_cast<const char*>(chunk.data()), got);
  }
}

std::size_t ByteStream::transfer_to(ByteStream& out, Deadline deadline) {
  std::size_t total = 0;
  std::array<std::byte, kChunk> chunk;
  for (;;) {
    const std::size_t got = read(chunk, deadline);
    if (got == 0) return total;
    out.write_all(std::span(chunk).first(got), deadline);
    total += got;
  }
}

std::optional<std::string> LineReader::read_line(Deadline deadline) {
  for (;;) {
    const std::size_t end = buffer_.find('\n', scanned_);
    const std::size_t length = (end == std::string::npos ? buffer_.size() : end) - start_;
    if (length > longest_ + 1) {
      throw Error("a line is longer than " + std::to_string(longest_) + " bytes", ErrorCode::Data);
    }
    if (end != std::string::npos || (ended_ && length > 0)) {
      const std::size_t next = start_ + length + (end != std::string::npos ? 1 : 0);
      const bool carriage_return = end != std::string::npos && length > 0 && buffer_[end - 1] == '\r';
      std::string line = buffer_.substr(start_, length - (carriage_return ? 1 : 0));
      if (line.size() > longest_) {
        throw Error("a line is longer than " + std::to_string(longest_) + " bytes", ErrorCode::Data);
      }
      start_ = scanned_ = next;
      return line;
    }
    if (ended_) return std::nullopt;
    buffer_.erase(0, start_);
    start_ = 0;
    scanned_ = buffer_.size();
    std::array<std::byte, kChunk> chunk;
    const std::size_t got = stream_->read(chunk, deadline);
    ended_ = got == 0;
    buffer_.append(reinterpret_cast<const char*>(chunk.data()), got);
  }
}

}  // namespace creel
