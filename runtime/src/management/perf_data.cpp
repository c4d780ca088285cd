#include "perf_data.hpp"

#include "../native_thread.hpp"
#include "../runtime_counters.hpp"
#include "../thread_record.hpp"
#include "gauge_registry.hpp"

#include <creel/runtime/error.hpp>
#include <creel/runtime/pinning.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace creel::detail {
namespace {

constexpr std::size_t kFileSize = 32 * 1024;
constexpr std::uint32_t kMagic = 0xC0C0FECA;  // the bytes CA FE C0 C0
constexpr std::size_t kEntryHead = 20;

struct Prologue {
  std::uint32_t magic;
  std::uint8_t byte_order, major_version, minor_version, accessible;
  std::int32_t used, overflow;
  std::int64_t changed;
  std::int32_t first_entry, entries;
};
static_assert(sizeof(Prologue) == 32);

struct EntryHead {
  std::int32_t length, name_offset, vector_length;
  char type, flags, unit, variability;
  std::int32_t data_offset;
};
static_assert(sizeof(EntryHead) == kEntryHead);

constexpr char kByte = 'B', kLong = 'J';
constexpr char kNoUnit = 1, kEvents = 4, kString = 5, kHertz = 6;
constexpr char kConstant = 1, kMonotonic = 2, kVariable = 3;

std::size_t align8(std::size_t size) noexcept { return (size + 7) & ~std::size_t{7}; }

// Removes the files of processes that are gone. A process of another pid namespace that shares /tmp holds its
// lock.
void sweep(int folder) {
  const int copy = ::fcntl(folder, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(copy), &::closedir);
  while (const dirent* entry = entries != nullptr ? ::readdir(entries.get()) : nullptr) {
    const std::string_view name = entry->d_name;
    const int pid = std::atoi(entry->d_name);
    if (pid <= 0 || std::to_string(pid) != name || pid == ::getpid() || ::kill(pid, 0) == 0 || errno != ESRCH)
      continue;
    const UniqueFd file(::openat(folder, entry->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;
    ::unlinkat(folder, entry->d_name, 0);
    // Whoever was killed left its attach socket too; in /tmp only our own can be removed.
    const std::string socket = std::string("/tmp/.java_pid") + entry->d_name;
    struct stat status {};
    if (::lstat(socket.c_str(), &status) == 0 && S_ISSOCK(status.st_mode) && status.st_uid == ::geteuid()) {
      ::unlink(socket.c_str());
    }
  }
}

UniqueFd open_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST)
    throw IoError("make the folder for jps", path, errno);
  UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!folder) throw IoError("open the folder for jps", path, errno);
  struct stat status {};
  ::fstat(folder.get(), &status);
  if (status.st_uid != ::geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw Error(path + " belongs to or can be written by another user; remove it to be listed by jps",
                ErrorCode::Io);
  }
  return folder;
}

}  // namespace

std::string perf_folder(unsigned uid) {
  std::array<char, 4096> space;
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(uid, &entry, space.data(), space.size(), &found);
  // A user without a name (a container's) has none for the JDK either; the number keeps the file apart.
  return "/tmp/hsperfdata_" + (found != nullptr ? std::string(found->pw_name) : std::to_string(uid));
}

PerfData::PerfData(const Options& options) {
  create_file(options.folder.empty() ? perf_folder(::geteuid()) : options.folder);
  add_string("sun.rt.javaCommand", options.command, kConstant);
  // The first digit says that the process can be attached to; jcmd -l lists only those.
  add_string("sun.rt.jvmCapabilities", "1000000000000000000000000000000000000000000000000000000000000000",
             kConstant);
  add_string("sun.rt.jvmVersion", options.version, kConstant);
  add_string("java.rt.vmArgs", "", kConstant);
  add_string("java.rt.vmFlags", "", kConstant);
  add_string("java.property.java.vm.name", "creel 64-Bit Server VM", kConstant);
  add_string("java.property.java.vm.version", options.version, kConstant);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  *add_long("sun.rt.createVmBeginTime", kNoUnit, kConstant) =
      std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  *add_long("sun.os.hrt.frequency", kHertz, kConstant) = 1'000'000'000;
  live_ = add_long("java.threads.live", kNoUnit, kVariable);
  peak_ = add_long("java.threads.livePeak", kNoUnit, kVariable);
  started_ = add_long("java.threads.started", kNoUnit, kMonotonic);
  daemon_ = add_long("java.threads.daemon", kNoUnit, kVariable);
  virtual_ = add_long("creel.threads.virtual", kNoUnit, kVariable);
  // Under HotSpot's name too, which its users look for.
  contended_ = add_long("sun.rt._sync_ContendedLockAttempts", kEvents, kMonotonic);
  pins_ = add_long("creel.threads.pinned.events", kEvents, kMonotonic);
  pinned_ = add_long("creel.threads.pinned.now", kNoUnit, kVariable);
  longest_pin_ = add_long("creel.threads.pinned.longestMillis", kNoUnit, kMonotonic);
  update();
  // Readers take the table as whole once this is set.
  __atomic_store_n(&reinterpret_cast<Prologue*>(table_)->accessible, std::uint8_t{1}, __ATOMIC_RELEASE);
}

void PerfData::create_file(const std::string& path) {
  const UniqueFd folder = open_folder(path);
  sweep(folder.get());
  const std::string name = std::to_string(::getpid());
  const std::string whole = path + "/" + name;
  ::unlinkat(folder.get(), name.c_str(), 0);  // of an earlier process with our pid
  fd_.reset(::openat(folder.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd_) throw IoError("make the file for jps", whole, errno);
  file_name_.set(whole);
  ::flock(fd_.get(), LOCK_EX | LOCK_NB);
  // In full: writing to a hole of a full file system would be a SIGBUS.
  if (const int error = ::posix_fallocate(fd_.get(), 0, kFileSize); error != 0) {
    throw IoError("make the file for jps", whole, error);
  }
  void* memory = ::mmap(nullptr, kFileSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (memory == MAP_FAILED) throw IoError("map the file for jps", whole, errno);
  table_ = static_cast<char*>(memory);
  const Prologue prologue{kMagic, 1, 2, 0, 0, sizeof(Prologue), 0, monotonic_ns(), sizeof(Prologue), 0};
  std::memcpy(table_, &prologue, sizeof prologue);
}

PerfData::~PerfData() {
  file_name_.remove();
  if (table_ != nullptr) ::munmap(table_, kFileSize);
}

void PerfData::abandon() noexcept { fd_.reset(); }

char* PerfData::add_entry(std::string_view name, char type, char unit, char variability,
                          std::size_t data_size, bool vector) {
  auto& prologue = *reinterpret_cast<Prologue*>(table_);
  const std::size_t data_offset = align8(kEntryHead + name.size() + 1);
  const std::size_t length = align8(data_offset + data_size);
  const auto used = static_cast<std::size_t>(prologue.used);
  CREEL_ASSERT(used + length <= kFileSize, "has_room_for() was asked");
  char* entry = table_ + used;
  const EntryHead head{static_cast<std::int32_t>(length),
                       static_cast<std::int32_t>(kEntryHead),
                       vector ? static_cast<std::int32_t>(data_size) : 0,
                       type,
                       1,
                       unit,
                       variability,
                       static_cast<std::int32_t>(data_offset)};
  std::memcpy(entry, &head, sizeof head);
  std::memcpy(entry + kEntryHead, name.data(), name.size());  // the file is zeros: no terminator to write
  // A reader that comes meanwhile sees the entry whole or not at all.
  __atomic_store_n(&prologue.used, prologue.used + head.length, __ATOMIC_RELEASE);
  __atomic_store_n(&prologue.entries, prologue.entries + 1, __ATOMIC_RELEASE);
  return entry + data_offset;
}

bool PerfData::has_room_for(std::string_view name) const noexcept {
  const auto used = static_cast<std::size_t>(reinterpret_cast<const Prologue*>(table_)->used);
  return used + kEntryHead + name.size() + 1 + 3 * sizeof(std::int64_t) <= kFileSize;
}

void PerfData::add_string(std::string_view name, std::string_view value, char variability) {
  constexpr std::size_t kLongest = 4096;  // a long command line must not push out the counters
  value = value.substr(0, kLongest);
  std::memcpy(add_entry(name, kByte, kString, variability, value.size() + 1, true), value.data(),
              value.size());
}

std::int64_t* PerfData::add_long(std::string_view name, char unit, char variability) {
  return reinterpret_cast<std::int64_t*>(
      add_entry(name, kLong, unit, variability, sizeof(std::int64_t), false));
}

void PerfData::update() noexcept {
  const auto set = [](std::int64_t* counter, std::uint64_t value) {
    __atomic_store_n(counter, static_cast<std::int64_t>(value), __ATOMIC_RELAXED);
  };
  const ThreadRegistry::Counts counts = ThreadRegistry::instance().counts();
  set(live_, counts.live);
  set(peak_, counts.peak);
  set(started_, counts.started);
  set(daemon_, counts.daemon);
  set(virtual_, counts.virtual_live);
  set(contended_, runtime_counters.contended_monitors.load(std::memory_order_relaxed));
  const PinningFigures pinning = pinning_figures();
  set(pins_, pinning.started);
  set(pinned_, pinning.pinned);
  set(longest_pin_, static_cast<std::uint64_t>(pinning.longest / std::chrono::milliseconds(1)));
  try {
    update_gauges();
  } catch (const std::bad_alloc&) {  // the next second may have the memory
  }
  __atomic_store_n(&reinterpret_cast<Prologue*>(table_)->changed, monotonic_ns(), __ATOMIC_RELAXED);
}

// A gauge has a place in the table from when it is first seen, and keeps it: readers know a counter by its
// place.
void PerfData::update_gauges() {
  const std::map<std::string, std::int64_t> values = GaugeRegistry::instance().read();
  for (const auto& [name, value] : values) {
    const auto [known, is_new] = gauges_.try_emplace(name, nullptr);
    if (is_new && has_room_for(name)) known->second = add_long(name, kNoUnit, kVariable);
  }
  for (const auto& [name, place] : gauges_) {
    const auto value = values.find(name);
    if (place != nullptr)
      __atomic_store_n(place, value != values.end() ? value->second : 0, __ATOMIC_RELAXED);
  }
}

std::vector<PerfEntry> read_perf_entries(int folder, const std::string& name) {
  std::vector<PerfEntry> entries;
  const UniqueFd fd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return entries;
  std::vector<char> table(kFileSize);
  const ssize_t got = ::pread(fd.get(), table.data(), table.size(), 0);
  if (got < static_cast<ssize_t>(sizeof(Prologue))) return entries;
  const auto size = static_cast<std::size_t>(got);
  Prologue prologue;
  std::memcpy(&prologue, table.data(), sizeof prologue);
  if (prologue.magic != kMagic || prologue.byte_order != 1 || prologue.first_entry < 0) return entries;
  std::size_t at = static_cast<std::size_t>(prologue.first_entry);
  for (std::int32_t i = 0; i < prologue.entries && at + kEntryHead <= size; ++i) {
    EntryHead head;
    std::memcpy(&head, table.data() + at, sizeof head);
    const auto length = static_cast<std::size_t>(head.length);
    if (head.length < static_cast<std::int32_t>(kEntryHead) || length > size - at || head.name_offset < 0 ||
        head.data_offset < head.name_offset || head.data_offset > head.length) {
      return entries;
    }
    const char* entry = table.data() + at;
    const auto name_room = static_cast<std::size_t>(head.data_offset - head.name_offset);
    const auto data_room = length - static_cast<std::size_t>(head.data_offset);
    PerfEntry& read = entries.emplace_back();
    read.name.assign(entry + head.name_offset, ::strnlen(entry + head.name_offset, name_room));
    if (head.type == kByte) {
      read.text.assign(entry + head.data_offset, ::strnlen(entry + head.data_offset, data_room));
    } else if (head.type == kLong && data_room >= sizeof(std::int64_t)) {
      std::memcpy(&read.number.emplace(), entry + head.data_offset, sizeof(std::int64_t));
    }
    at += length;
  }
  return entries;
}

std::string read_perf_command(int folder, const std::string& name) {
  for (PerfEntry& entry : read_perf_entries(folder, name)) {
    if (entry.name == "sun.rt.javaCommand") return std::move(entry.text);
  }
  return {};
}

}  // namespace creel::detail
