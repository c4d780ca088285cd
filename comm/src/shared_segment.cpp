#include "shared_segment.hpp"

#include "available_memory.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>

namespace creel::comm::detail {
namespace {

[[noreturn]] void throw_too_little(const WorldGeometry& geometry, std::optional<std::uint64_t> present,
                                   int error_number) {
  std::string what = "shared memory for " + std::to_string(geometry.ranks) + " ranks: needed " +
                     format_bytes(geometry.total_bytes()) + " (" + std::to_string(geometry.total_bytes()) +
                     " bytes)";
  if (present) what += ", present " + format_bytes(*present) + " (" + std::to_string(*present) + " bytes)";
  what += "; free memory, raise the limit, or use fewer ranks";
  throw IoError(what, "", error_number);
}

// Before fallocate: past the file size limit the kernel sends SIGXFSZ, past a control group's memory it
// kills.
void check_room(const WorldGeometry& geometry) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < geometry.total_bytes()) {
    throw_too_little(geometry, limit.rlim_cur, EFBIG);
  }
  const std::optional<std::uint64_t> present = available_memory();
  if (present && *present < geometry.total_bytes()) throw_too_little(geometry, present, ENOMEM);
}

bool is_world(const WorldHeader& header, const WorldGeometry& geometry, std::size_t file_bytes) {
  return geometry.ranks >= 1 && geometry.ranks <= 255 && geometry.depth >= 2 && geometry.depth <= 64 &&
         geometry.chunk_bytes <= (std::size_t{1} << 40) && header.total_bytes == file_bytes &&
         geometry.total_bytes() == file_bytes;
}

std::uint32_t pack_kind(const Operation& operation) {
  return kActive | static_cast<std::uint32_t>(operation.collective) << 24 |
         static_cast<std::uint32_t>(operation.dtype) << 16 |
         static_cast<std::uint32_t>(operation.reduce) << 8 | operation.root;
}

}  // namespace

SharedSegment* SharedSegment::create(const WorldGeometry& geometry) {
  check_room(geometry);
  UniqueFd fd(::memfd_create("creel-world", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) throw IoError("memfd_create", "", errno);
  int result = 0;
  do {
    result = ::fallocate(fd.get(), 0, 0, static_cast<off_t>(geometry.total_bytes()));
  } while (result != 0 && errno == EINTR);
  if (result != 0) throw_too_little(geometry, available_memory(), errno);
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    throw IoError("sealing shared memory", "", errno);
  }
  auto* segment = new SharedSegment(std::move(fd), geometry);
  auto* header = new (segment->base_) WorldHeader{};  // the other parts are valid as the zeros that they are
  header->magic = kMagic;
  header->version = kVersion;
  header->ranks = static_cast<std::uint32_t>(geometry.ranks);
  header->depth = static_cast<std::uint32_t>(geometry.depth);
  header->chunk_bytes = geometry.chunk_bytes;
  header->total_bytes = geometry.total_bytes();
  return segment;
}

SharedSegment* SharedSegment::attach(UniqueFd fd) {
  const std::string name = "descriptor " + std::to_string(fd.get());
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw IoError("shared memory of the ranks", name, errno);
  const auto file_bytes = static_cast<std::size_t>(status.st_size);
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  // Without the seal somebody could cut the file short, and an access would end the process by SIGBUS.
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 || file_bytes < sizeof(WorldHeader)) {
    throw Error(name + " is not the shared memory of a run; ranks are started by a launcher that made it");
  }
  void* mapped = ::mmap(nullptr, sizeof(WorldHeader), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (mapped == MAP_FAILED) throw IoError("mapping the shared memory of the ranks", name, errno);
  const auto& header = *static_cast<const WorldHeader*>(mapped);
  const bool ours = header.magic == kMagic;
  const std::uint32_t version = header.version;
  const WorldGeometry geometry{header.ranks, header.depth, header.chunk_bytes};
  const bool sound = ours && version == kVersion && is_world(header, geometry, file_bytes);
  ::munmap(mapped, sizeof(WorldHeader));
  if (!ours)
    throw Error(name + " is not the shared memory of a run; ranks are started by a launcher that made it");
  if (version != kVersion) {
    throw Error("the launcher's shared memory has version " + std::to_string(version) +
                ", this program's is " + std::to_string(kVersion) + "; run both from one build");
  }
  if (!sound)
    throw Error(name + ": the shared memory's header contradicts its size of " + std::to_string(file_bytes) +
                " bytes");
  return new SharedSegment(std::move(fd), geometry);
}

SharedSegment::SharedSegment(UniqueFd fd, const WorldGeometry& geometry)
    : fd_(std::move(fd)), geometry_(geometry) {
  void* mapped = ::mmap(nullptr, geometry.total_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (mapped == MAP_FAILED)
    throw IoError("mapping the shared memory of the ranks", format_bytes(geometry.total_bytes()), errno);
  base_ = static_cast<std::byte*>(mapped);
}

SharedSegment::~SharedSegment() { ::munmap(base_, geometry_.total_bytes()); }

void SharedSegment::publish(int rank, const Operation& operation) const noexcept {
  RankBlock& block = this->rank(rank);
  const std::uint32_t version = block.version.load(std::memory_order_relaxed);  // only this rank writes it
  block.version.store(version + 1, std::memory_order_relaxed);
  // release on each field: a reader that sees it also sees the odd version before it.
  block.kind.store(pack_kind(operation), std::memory_order_release);
  block.sequence.store(operation.sequence, std::memory_order_release);
  block.bytes.store(operation.bytes, std::memory_order_release);
  std::array<std::uint64_t, 5> words{};
  if (!operation.label.empty()) {
    std::memcpy(words.data(), operation.label.data(), std::min(operation.label.size(), sizeof(words)));
  }
  for (std::size_t i = 0; i < words.size(); ++i) block.label[i].store(words[i], std::memory_order_release);
  block.version.store(version + 2, std::memory_order_release);
}

void SharedSegment::publish_idle(int rank) const noexcept {
  RankBlock& block = this->rank(rank);
  // One word, so that no version is needed; sequence stays as "the last one".
  block.kind.store(block.kind.load(std::memory_order_relaxed) & ~kActive, std::memory_order_release);
}

RankSnapshot SharedSegment::snapshot(int rank) const {
  const RankBlock& block = this->rank(rank);
  RankSnapshot seen;
  std::array<std::uint64_t, 5> words{};
  std::uint32_t kind = 0;
  // A rank that died while it wrote leaves an odd version for ever: what is there is then the best there is.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::uint32_t before = block.version.load(std::memory_order_acquire);
    // acquire on each field keeps the second look at the version behind them.
    kind = block.kind.load(std::memory_order_acquire);
    seen.operation.sequence = block.sequence.load(std::memory_order_acquire);
    seen.operation.bytes = block.bytes.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = block.label[i].load(std::memory_order_acquire);
    if ((before & 1) == 0 && block.version.load(std::memory_order_relaxed) == before) break;
  }
  seen.active = (kind & kActive) != 0;
  seen.operation.collective = static_cast<Collective>(std::min(kind >> 24 & 0x7f, 4u));
  seen.operation.dtype = static_cast<DType>(std::min(kind >> 16 & 0xff, 6u));
  seen.operation.reduce = static_cast<ReduceOp>(std::min(kind >> 8 & 0xff, 3u));
  seen.operation.root = static_cast<std::uint8_t>(kind);
  std::array<char, sizeof(words) + 1> text{};
  std::memcpy(text.data(), words.data(), sizeof(words));
  seen.label = text.data();
  seen.waiting_for = block.waiting_for.load(std::memory_order_acquire) - 1;
  seen.pid = block.pid.load(std::memory_order_acquire);
  return seen;
}

void SharedSegment::ring_bell(int rank) const noexcept {
  RankBlock& block = this->rank(rank);
  // seq_cst, as the store of what the sleeper waits for and the sleeper's two: either it sees the news or we
  // see it sleep.
  if (block.sleeping.load(std::memory_order_seq_cst) == 0) return;
  block.bell.fetch_add(1, std::memory_order_seq_cst);
  LockSupport::wake(block.bell, 1, LockSupport::Scope::Shared);
}

}  // namespace creel::comm::detail
