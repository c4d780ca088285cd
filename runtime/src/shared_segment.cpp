#include "shared_member.hpp"

#include <creel/runtime/shared_segment.hpp>
#include <creel/runtime/unique_fd.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace creel {
namespace {

constexpr std::uint64_t kMagic = 0x324745534c455243;  // "CRELSEG2"
constexpr std::uint64_t kGrain = 16;                  // offsets of blocks are counted in these: 64 GiB
constexpr std::uint64_t kMaxBytes = (std::uint64_t{1} << 32) * kGrain;
constexpr std::size_t kClasses = 64;
constexpr std::uint32_t kUsed = 0x55534544, kFree = 0x46524545;
constexpr const char* kFolder = "/dev/shm";

// Before each block.
struct alignas(16) Block {
  std::atomic<std::uint32_t> state;
  std::atomic<std::uint32_t> next;  // in the free list, in grains
  std::uint64_t size_class;
};

// An entry of the directory. Entries are never freed, so that a list can be read while it changes; one whose
// object is gone serves the next object of its name.
struct Entry {
  std::uint64_t next;
  std::atomic<std::uint64_t> object;  // of a Described; 0: none
  std::uint64_t name_bytes;
  char name[];
};

// Published together with the object, so that nobody sees the one with the other's type.
struct Described {
  std::uint64_t type, bytes, object;
};

struct Header {
  std::uint64_t magic;
  std::uint64_t bytes;
  std::int64_t creator;
  std::atomic<std::uint64_t> top;      // everything beyond was never allocated
  std::atomic<std::uint64_t> entries;  // the last one made
  // Free blocks by class: the first one, in grains, and above it a count that makes each value of the word
  // differ from those before, since a block may come and go while somebody looks.
  std::array<std::atomic<std::uint64_t>, kClasses> free;
  detail::SharedMemberTable members;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// Class 2k holds 32 << k bytes with the header, class 2k + 1 half as many again.
std::uint64_t class_bytes(std::size_t size_class) noexcept {
  const std::uint64_t whole = std::uint64_t{32} << (size_class / 2);
  return size_class % 2 == 0 ? whole : whole + whole / 2;
}
std::size_t class_for(std::uint64_t bytes) noexcept {
  std::size_t size_class = 0;
  while (class_bytes(size_class) < bytes) ++size_class;
  return size_class;
}

std::string file_prefix() { return "creel-" + std::to_string(::geteuid()) + "-"; }

std::string path_of(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 200 || !std::all_of(name.begin(), name.end(), allowed)) {
    throw Error(
        "shared segment name \"" + std::string(name) + "\"; use 1 to 200 letters, digits, '.', '_' or '-'",
        ErrorCode::Config);
  }
  return std::string(kFolder) + "/" + file_prefix() + std::string(name);
}

UniqueFd open_file(const std::string& path) {
  return UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

}  // namespace

class SharedSegment::Mapping {
 public:
  Mapping(std::string_view name, UniqueFd fd, std::size_t bytes)
      : name_(name), fd_(std::move(fd)), bytes_(bytes) {
    base_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (base_ == MAP_FAILED) throw IoError("map shared segment", name_, errno);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { ::munmap(base_, bytes_); }

  const std::string& name() const noexcept { return name_; }
  int file() const noexcept { return fd_.get(); }
  std::size_t bytes() const noexcept { return bytes_; }
  Header& header() const noexcept { return *static_cast<Header*>(base_); }
  template <typename T>
  T* at(std::uint64_t offset) const noexcept {
    return reinterpret_cast<T*>(static_cast<std::byte*>(base_) + offset);
  }
  std::uint64_t offset(const void* address) const noexcept {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(address) -
                                      static_cast<std::byte*>(base_));
  }
  bool holds(const void* address) const noexcept { return offset(address) < bytes_; }

  void format() noexcept {
    Header* header = ::new (base_) Header{};
    header->bytes = bytes_;
    header->creator = ::getpid();
    header->top = (sizeof(Header) + kGrain - 1) / kGrain * kGrain;
    header->magic = kMagic;
  }

  Block* pop(std::size_t size_class) noexcept {
    std::atomic<std::uint64_t>& list = header().free[size_class];
    std::uint64_t seen = list.load(std::memory_order_acquire);
    while (static_cast<std::uint32_t>(seen) != 0) {
      Block* block = at<Block>((seen & 0xffffffff) * kGrain);
      const std::uint64_t next = block->next.load(std::memory_order_relaxed);
      if (list.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | next, std::memory_order_acquire))
        return block;
    }
    return nullptr;
  }
  void push(Block& block) noexcept {
    std::atomic<std::uint64_t>& list = header().free[block.size_class];
    std::uint64_t seen = list.load(std::memory_order_relaxed);
    do {
      block.next.store(static_cast<std::uint32_t>(seen), std::memory_order_relaxed);
    } while (!list.compare_exchange_weak(seen, ((seen >> 32) + 1) << 32 | offset(&block) / kGrain,
                                         std::memory_order_release, std::memory_order_relaxed));
  }
  Block* cut(std::size_t size_class) noexcept {
    const std::uint64_t bytes = class_bytes(size_class);
    std::uint64_t top = header().top.load(std::memory_order_relaxed);
    do {
      if (bytes > bytes_ - top) return nullptr;
    } while (!header().top.compare_exchange_weak(top, top + bytes, std::memory_order_relaxed));
    Block* block = at<Block>(top);
    block->size_class = size_class;
    return block;
  }

  Entry* find(std::uint64_t from, std::uint64_t until, std::string_view name) const noexcept {
    for (; from != until; from = at<Entry>(from)->next) {
      Entry* entry = at<Entry>(from);
      if (std::string_view(entry->name, entry->name_bytes) == name) return entry;
    }
    return nullptr;
  }
  void* object_of(std::uint64_t described, Type type, std::string_view object) const {
    const Described& found = *at<Described>(described);
    if (found.type != type.name_hash || found.bytes != type.bytes) {
      throw Error("shared segment \"" + name_ + "\": object \"" + std::string(object) +
                  "\" is of another type");
    }
    return at<void>(found.object);
  }

 private:
  std::string name_;
  UniqueFd fd_;  // with a shared flock() for as long as we live: see sweep()
  std::size_t bytes_;
  void* base_ = nullptr;
};

SharedSegment::SharedSegment(std::unique_ptr<Mapping> mapping) noexcept : mapping_(std::move(mapping)) {}
SharedSegment::SharedSegment(SharedSegment&&) noexcept = default;
SharedSegment& SharedSegment::operator=(SharedSegment&&) noexcept = default;
SharedSegment::~SharedSegment() = default;

SharedSegment SharedSegment::create(std::string_view name, std::size_t bytes) {
  const std::string path = path_of(name);
  const std::size_t page = 4096;
  if (bytes > kMaxBytes - 2 * page) throw Error("a shared segment has at most 64 GiB", ErrorCode::Config);
  const std::size_t whole = (bytes + sizeof(Header) + page - 1) / page * page;
  // Without a name until it is complete: nobody opens half a segment, and a creator that dies leaves nothing.
  UniqueFd fd(::open(kFolder, O_RDWR | O_CLOEXEC | O_TMPFILE, 0600));
  if (!fd) throw IoError("create shared segment", path, errno);
  if (::fchmod(fd.get(), 0600) != 0) throw IoError("create shared segment", path, errno);
  if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(whole)); error != 0) {
    throw IoError("allocate shared segment", path, error);
  }
  const int file = fd.get();
  if (::flock(file, LOCK_SH) != 0) throw IoError("lock shared segment", path, errno);
  auto mapping = std::make_unique<Mapping>(name, std::move(fd), whole);
  mapping->format();
  const std::string self = "/proc/self/fd/" + std::to_string(file);
  if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0) {
    throw IoError("create shared segment", path, errno);
  }
  return SharedSegment(std::move(mapping));
}

std::optional<SharedSegment> SharedSegment::open(std::string_view name) {
  const std::string path = path_of(name);
  for (;;) {
    UniqueFd fd = open_file(path);
    if (!fd && errno == ENOENT) return std::nullopt;
    if (!fd) throw IoError("open shared segment", path, errno);
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) throw IoError("open shared segment", path, errno);
    if (!S_ISREG(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0) {
      throw IoError("open shared segment: not a file of this user's alone", path, EACCES);
    }
    while (::flock(fd.get(), LOCK_SH) != 0) {
      if (errno != EINTR) throw IoError("lock shared segment", path, errno);
    }
    if (::fstat(fd.get(), &status) != 0) throw IoError("open shared segment", path, errno);
    if (status.st_nlink == 0) continue;  // removed before we had it
    const auto bytes = static_cast<std::size_t>(status.st_size);
    if (bytes < sizeof(Header)) throw Error("not a shared segment of this layout: " + path, ErrorCode::Data);
    auto mapping = std::make_unique<Mapping>(name, std::move(fd), bytes);
    if (mapping->header().magic != kMagic || mapping->header().bytes != bytes) {
      throw Error("not a shared segment of this layout: " + path, ErrorCode::Data);
    }
    return SharedSegment(std::move(mapping));
  }
}

SharedSegment SharedSegment::open_or_create(std::string_view name, std::size_t bytes) {
  for (;;) {
    if (auto there = open(name)) return *std::move(there);
    try {
      return create(name, bytes);
    } catch (const IoError& error) {
      if (error.error_number() != EEXIST) throw;  // somebody else was faster
    }
  }
}

bool SharedSegment::remove(std::string_view name) {
  const std::string path = path_of(name);
  if (::unlink(path.c_str()) == 0) return true;
  if (errno == ENOENT) return false;
  throw IoError("remove shared segment", path, errno);
}

std::vector<std::string> SharedSegment::sweep() {
  std::vector<std::string> removed;
  const std::string prefix = file_prefix();
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(kFolder, error)) {
    const std::string stem = file.path().filename().string();
    if (!stem.starts_with(prefix)) continue;
    const UniqueFd fd = open_file(file.path().string());
    // Everybody who has it open holds the shared lock; the system gives up that of a process that died.
    if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    struct stat opened {};
    struct stat named {};
    if (::fstat(fd.get(), &opened) != 0 || ::lstat(file.path().c_str(), &named) != 0) continue;
    if (opened.st_uid != ::geteuid() || opened.st_ino != named.st_ino) continue;
    if (::unlink(file.path().c_str()) == 0) removed.push_back(stem.substr(prefix.size()));
  }
  std::sort(removed.begin(), removed.end());
  return removed;
}

const std::string& SharedSegment::name() const noexcept { return mapping_->name(); }
std::size_t SharedSegment::size() const noexcept { return mapping_->bytes(); }
std::size_t SharedSegment::untouched() const noexcept {
  return mapping_->bytes() - mapping_->header().top.load(std::memory_order_relaxed);
}
pid_t SharedSegment::creator() const noexcept { return static_cast<pid_t>(mapping_->header().creator); }

int SharedSegment::descriptor() const noexcept { return mapping_->file(); }
std::uint64_t SharedSegment::members() const noexcept {
  return mapping_->offset(&mapping_->header().members);
}

void* SharedSegment::try_allocate(std::size_t bytes) noexcept {
  if (bytes > mapping_->bytes()) return nullptr;
  const std::size_t wanted = class_for(bytes + sizeof(Block));
  Block* block = mapping_->pop(wanted);
  if (block == nullptr) block = mapping_->cut(wanted);
  // At the end of the memory a larger block is better than none.
  for (std::size_t larger = wanted + 1; block == nullptr && larger < kClasses; ++larger)
    block = mapping_->pop(larger);
  if (block == nullptr) return nullptr;
  block->state.store(kUsed, std::memory_order_relaxed);
  return block + 1;
}

void* SharedSegment::allocate(std::size_t bytes) {
  if (void* block = try_allocate(bytes)) return block;
  throw Error("shared segment \"" + name() + "\" of " + std::to_string(size()) + " bytes has no " +
              std::to_string(bytes) + " left; create it larger");
}

void SharedSegment::deallocate(void* address) {
  if (address == nullptr) return;
  const std::uint64_t offset = to_offset(address);
  auto* block = static_cast<Block*>(address) - 1;
  std::uint32_t used = kUsed;
  if (offset % kGrain != 0 || offset < sizeof(Header) + sizeof(Block) ||
      !block->state.compare_exchange_strong(used, kFree, std::memory_order_relaxed)) {
    throw Error("shared segment \"" + name() + "\": offset " + std::to_string(offset) +
                " is no block in use; was it freed before?");
  }
  mapping_->push(*block);
}

std::uint64_t SharedSegment::to_offset(const void* address) const {
  if (address == nullptr) return 0;
  if (mapping_->holds(address)) return mapping_->offset(address);
  throw Error("shared segment \"" + name() + "\": an address that is not in it");
}

void* SharedSegment::from_offset(std::uint64_t offset) const {
  if (offset == 0) return nullptr;
  if (offset < mapping_->bytes()) return mapping_->at<void>(offset);
  throw Error("shared segment \"" + name() + "\": offset " + std::to_string(offset) + " of " +
              std::to_string(size()) + " bytes");
}

std::uint64_t SharedSegment::hash(std::string_view text) noexcept {  // FNV-1a: the same in all processes
  std::uint64_t value = 14695981039346656037u;
  for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return value;
}

void* SharedSegment::find_object(std::string_view name, Type type) const {
  // acquire, here and below: what was done before publish() happens before.
  const Entry* entry = mapping_->find(mapping_->header().entries.load(std::memory_order_acquire), 0, name);
  const std::uint64_t described = entry != nullptr ? entry->object.load(std::memory_order_acquire) : 0;
  return described != 0 ? mapping_->object_of(described, type, name) : nullptr;
}

void* SharedSegment::publish(std::string_view name, Type type, void* object) {
  auto* described =
      ::new (allocate(sizeof(Described))) Described{type.name_hash, type.bytes, to_offset(object)};
  const std::uint64_t mine = to_offset(described);
  Entry* made = nullptr;
  std::atomic<std::uint64_t>& entries = mapping_->header().entries;
  std::uint64_t looked_at = 0;
  std::uint64_t first = entries.load(std::memory_order_acquire);
  for (;;) {
    if (Entry* entry = mapping_->find(first, looked_at, name)) {
      deallocate(made);
      std::uint64_t there = 0;
      if (entry->object.compare_exchange_strong(there, mine, std::memory_order_acq_rel)) return object;
      deallocate(described);
      return mapping_->object_of(there, type, name);
    }
    if (made == nullptr) {
      void* memory = try_allocate(sizeof(Entry) + name.size());
      if (memory == nullptr) {
        deallocate(described);
        throw Error("shared segment \"" + this->name() + "\" is full; create it larger");
      }
      made = ::new (memory) Entry{};
      made->object.store(mine, std::memory_order_relaxed);
      made->name_bytes = name.size();
      std::memcpy(made->name, name.data(), name.size());
    }
    made->next = looked_at = first;
    if (entries.compare_exchange_strong(first, to_offset(made), std::memory_order_acq_rel)) return object;
  }
}

void* SharedSegment::withdraw(std::string_view name, Type type) {
  Entry* entry = mapping_->find(mapping_->header().entries.load(std::memory_order_acquire), 0, name);
  std::uint64_t described = entry != nullptr ? entry->object.load(std::memory_order_acquire) : 0;
  if (described == 0) return nullptr;
  void* object = mapping_->object_of(described, type, name);
  if (!entry->object.compare_exchange_strong(described, 0, std::memory_order_acq_rel)) return nullptr;
  deallocate(mapping_->at<void>(described));
  return object;
}

}  // namespace creel
