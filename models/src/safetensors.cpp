#include "safetensors_header.hpp"

#include <creel/models/functional.hpp>
#include <creel/models/safetensors.hpp>
#include <creel/runtime/atomic_file.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <span>
#include <vector>

namespace creel::models {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

namespace {

void read_exactly(int fd, void* to, std::size_t size, std::size_t offset, const std::filesystem::path& path) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got =
        ::pread(fd, static_cast<char*>(to) + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError("cannot read", path.string(), errno);
    if (got == 0) throw Error(path.string() + ": became shorter while it was read", ErrorCode::Data);
    done += static_cast<std::size_t>(got);
  }
}

}  // namespace

SafeTensors load_safetensors(const std::filesystem::path& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    const int error_number = errno;
    if (error_number == ENOENT) throw Error(path.string() + ": no such file", ErrorCode::Missing);
    throw IoError("cannot open", path.string(), error_number);
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw IoError("cannot read", path.string(), errno);
  const auto file_size = static_cast<std::uint64_t>(status.st_size);

  std::uint64_t header_size = 0;
  if (file_size < sizeof header_size) throw Error(path.string() + ": truncated: no header", ErrorCode::Data);
  read_exactly(fd.get(), &header_size, sizeof header_size, 0, path);
  detail::check_header_size(header_size, file_size, path);
  std::string text(header_size, '\0');
  read_exactly(fd.get(), text.data(), text.size(), sizeof header_size, path);

  const std::uint64_t data_start = sizeof header_size + header_size;
  detail::Header header = detail::parse_header(text, file_size - data_start, path);
  SafeTensors result;
  result.metadata = std::move(header.metadata);
  for (detail::Entry& entry : header.entries) {
    nn::Tensor tensor = nn::empty(entry.shape, entry.type);
    read_exactly(fd.get(), tensor.mutable_data_ptr(), entry.end - entry.begin, data_start + entry.begin,
                 path);
    result.tensors.set(std::move(entry.name), std::move(tensor));
  }
  return result;
}

void save_safetensors(const std::filesystem::path& path, const nn::TensorMap& tensors,
                      std::map<std::string, std::string> metadata) {
  metadata.try_emplace("format", "pt");
  std::vector<nn::Tensor> contiguous;  // keeps the memory of the pieces below alive
  detail::Header header{{}, std::move(metadata)};
  std::uint64_t offset = 0;
  for (const nn::NamedTensor& named : tensors) {
    contiguous.push_back(named.tensor.detach().to(at::kCPU).contiguous());
    const std::uint64_t end = offset + contiguous.back().nbytes();
    header.entries.push_back(
        {named.name, named.tensor.scalar_type(), named.tensor.sizes().vec(), offset, end});
    offset = end;
  }
  const std::string text = detail::format_header(header);
  const std::uint64_t header_size = text.size();
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(&header_size, 1)),
                                                 std::as_bytes(std::span(text))};
  for (const nn::Tensor& tensor : contiguous) {
    pieces.emplace_back(static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  write_file_atomically(path, pieces);
}

}  // namespace creel::models
