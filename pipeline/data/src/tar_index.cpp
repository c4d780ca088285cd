#include "tar_index.hpp"

#include <creel/runtime/error.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

namespace creel::pipeline::detail {
namespace {

constexpr std::uint64_t kBlock = 512;
constexpr std::uint64_t kLongestHeader =
    1 << 20;  // of a pax header or a long name, bytes; real ones have some hundred

using Header = std::array<char, kBlock>;

// Text up to the first NUL of a fixed field.
std::string_view text_at(const Header& header, std::size_t offset, std::size_t size) {
  const std::string_view field(header.data() + offset, size);
  return field.substr(0, std::min(field.find('\0'), size));
}

// A number as tar writes it: octal digits among blanks, or base 256 when the first bit is set.
std::optional<std::uint64_t> number_at(const Header& header, std::size_t offset, std::size_t size) {
  const auto first = static_cast<unsigned char>(header[offset]);
  if ((first & 0x80U) != 0) {
    if ((first & 0x40U) != 0) return std::nullopt;  // negative
    std::uint64_t value = first & 0x3FU;
    for (std::size_t i = 1; i < size; ++i) {
      if (value >> 55U != 0) return std::nullopt;  // would pass 2^63
      value = value << 8U | static_cast<unsigned char>(header[offset + i]);
    }
    return value;
  }
  std::string_view text = text_at(header, offset, size);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (text.empty()) return 0;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool checksum_is_right(const Header& header) {
  constexpr std::size_t kAt = 148;
  constexpr std::size_t kSize = 8;
  std::uint64_t as_unsigned = 0;
  std::int64_t as_signed = 0;  // some old writers summed signed chars
  for (std::size_t i = 0; i < kBlock; ++i) {
    const char byte = i >= kAt && i < kAt + kSize ? ' ' : header[i];
    as_unsigned += static_cast<unsigned char>(byte);
    as_signed += static_cast<signed char>(byte);
  }
  const std::optional<std::uint64_t> stored = number_at(header, kAt, kSize);
  return stored && (*stored == as_unsigned || static_cast<std::int64_t>(*stored) == as_signed);
}

// What an extended header says of the member after it.
struct Override {
  std::optional<std::string> path;
  std::optional<std::uint64_t> size;
};

class IndexReader {
 public:
  IndexReader(int fd, const std::string& path) : fd_(fd), path_(path) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) throw IoError("fstat", path, errno);
    end_ = static_cast<std::uint64_t>(status.st_size);
  }

  std::vector<TarMember> run() {
    while (next_header()) entry();
    return std::move(members_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(path_ + ": " + what + " at byte " + std::to_string(at_), ErrorCode::Data);
  }

  // False at the end of the archive: a block of zeros, or the end of the file where a header would be.
  bool next_header() {
    if (at_ == end_) {
      if (end_ == 0) fail("empty file, not a tar archive");
      return false;
    }
    if (!read_exactly(fd_, path_, at_, reinterpret_cast<std::byte*>(header_.data()), kBlock)) {
      fail("truncated tar archive: half a header");
    }
    if (std::all_of(header_.begin(), header_.end(), [](char c) { return c == '\0'; })) return false;
    if (!checksum_is_right(header_))
      fail(at_ == 0 ? "not a tar archive: bad header" : "damaged tar archive: bad header");
    return true;
  }

  void entry() {
    const char type = header_[156];
    const bool file = type == '0' || type == '\0' || type == '7';
    const bool extended = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    std::optional<std::uint64_t> size = number_at(header_, 124, 12);
    if (!size) fail("damaged tar archive: bad size");
    if (!extended && next_.size) size = next_.size;
    if (type >= '1' && type <= '6') size = 0;  // links, devices, folders: any size there is not of data
    const std::uint64_t data = at_ + kBlock;
    const std::string name = extended ? "extended header" : member_path();
    if (*size > end_ - data) {
      fail("truncated tar archive: " + name + " has " + std::to_string(*size) + " bytes, but " +
           std::to_string(end_ - data) + " are left");
    }
    if (extended) {
      read_extended(type, data, *size);
    } else {
      if (type == 'S') fail("sparse member " + name + "; pack it without --sparse");
      if (file) members_.push_back({.path = name, .offset = data, .size = *size});
      next_ = {};
    }
    const std::uint64_t padded = (*size + kBlock - 1) / kBlock * kBlock;
    at_ = data + std::min(padded, end_ - data);  // the last block's padding may be missing
  }

  std::string member_path() const {
    if (next_.path) return *next_.path;
    std::string path(text_at(header_, 345, 155));
    // The old GNU format keeps times where ustar has a prefix.
    if (text_at(header_, 257, 6) != "ustar" || path.empty()) return std::string(text_at(header_, 0, 100));
    return path.append("/").append(text_at(header_, 0, 100));
  }

  void read_extended(char type, std::uint64_t data, std::uint64_t size) {
    if (size > kLongestHeader)
      fail("damaged tar archive: extended header of " + std::to_string(size) + " bytes");
    std::string text(size, '\0');
    read_exactly(fd_, path_, data, reinterpret_cast<std::byte*>(text.data()), text.size());
    if (type == 'L') next_.path = text.substr(0, text.find('\0'));
    if (type == 'x') read_pax(text);
    // 'K' names a link's target and 'g' gives defaults of which path and size make no sense: nothing to take.
  }

  // Records of the form "LENGTH key=value\n", where LENGTH counts the whole record.
  void read_pax(std::string_view text) {
    while (!text.empty()) {
      std::size_t length = 0;
      const auto [blank, error] = std::from_chars(text.data(), text.data() + text.size(), length);
      const auto digits = static_cast<std::size_t>(blank - text.data());
      if (error != std::errc() || length > text.size() || length < digits + 2 || *blank != ' ' ||
          text[length - 1] != '\n') {
        fail("damaged tar archive: bad pax record");
      }
      const std::string_view record = text.substr(digits + 1, length - digits - 2);
      const std::size_t equals = record.find('=');
      if (equals == std::string_view::npos) fail("damaged tar archive: bad pax record");
      take_record(record.substr(0, equals), record.substr(equals + 1));
      text.remove_prefix(length);
    }
  }

  void take_record(std::string_view key, std::string_view value) {
    if (key == "path") next_.path = std::string(value);
    if (key.starts_with("GNU.sparse.")) fail("sparse member; pack it without --sparse");
    if (key != "size") return;
    std::uint64_t size = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), size);
    if (error != std::errc() || end != value.data() + value.size()) fail("damaged tar archive: bad pax size");
    next_.size = size;
  }

  int fd_;
  const std::string& path_;
  std::uint64_t end_ = 0;
  std::uint64_t at_ = 0;
  Header header_{};
  Override next_;
  std::vector<TarMember> members_;
};

}  // namespace

bool read_exactly(int fd, const std::string& path, std::uint64_t offset, std::byte* to, std::size_t size) {
  while (size > 0) {
    const ssize_t got = ::pread(fd, to, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError("read", path, errno);
    if (got == 0) return false;
    to += got;
    offset += static_cast<std::uint64_t>(got);
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

std::vector<TarMember> read_tar_index(int fd, const std::string& path) { return IndexReader(fd, path).run(); }

}  // namespace creel::pipeline::detail
