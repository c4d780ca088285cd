#include "shared_member.hpp"

#include "thread_record.hpp"

#include <creel/runtime/error.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <vector>

namespace creel::detail {
namespace {

using namespace std::chrono_literals;
constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto kSlice = 50ms;  // how long a dead process's part in a wake-up can delay the living

std::atomic<std::uint32_t> process_epoch{1};

struct flock slot_lock(unsigned slot, short type) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = slot;
  lock.l_len = 1;
  return lock;
}

// A second open file description of the same file; the name may be gone.
int open_again(int file) noexcept {
  std::array<char, 32> path{};
  std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", file);
  const int again = ::open(path.data(), O_RDWR | O_CLOEXEC);
  if (again >= 0) {
    while (::flock(again, LOCK_SH) != 0 && errno == EINTR) {
    }
  }
  return again;
}

}  // namespace

SharedPresence::SharedPresence(SharedMemberTable& table, int file, std::string name)
    : table_(table), file_(file), name_(std::move(name)), epoch_(process_epoch.load(kRelaxed)) {
  take_slot();
  listener_ = Thread::of_platform().name("creel-shared-" + name_).daemon().start([this] { listen(); });
}

SharedPresence::~SharedPresence() {
  stop_.store(true, std::memory_order_release);
  ring(slot_);
  LockSupport::unpark(listener_);
  ended_.acquire_uninterruptibly(1);
  struct flock lock = slot_lock(slot_, F_UNLCK);
  ::fcntl(file_, F_OFD_SETLK, &lock);
}

void SharedPresence::take_slot() {
  for (unsigned slot = 0; slot < kSharedSlots; ++slot) {
    struct flock lock = slot_lock(slot, F_WRLCK);
    if (::fcntl(file_, F_OFD_SETLK, &lock) != 0) {
      if (errno == EAGAIN || errno == EACCES) continue;
      throw IoError("lock a slot of shared segment", name_, errno);
    }
    slot_ = slot;
    auto& generation = table_.slots[slot].generation;
    generation_ = static_cast<std::uint16_t>(generation.load(kRelaxed) + 1);
    if (generation_ == 0) generation_ = 1;
    generation.store(generation_);
    return;
  }
  throw Error("shared segment \"" + name_ + "\": " + std::to_string(kSharedSlots) +
              " processes use its monitors and rings already; there is no room for more");
}

bool SharedPresence::is_current() const noexcept { return epoch_ == process_epoch.load(kRelaxed); }

bool SharedPresence::is_alive(unsigned slot, std::uint16_t generation) const noexcept {
  return slot < kSharedSlots && table_.slots[slot].generation.load() == generation && is_occupied(slot);
}

bool SharedPresence::is_occupied(unsigned slot) const noexcept {
  if (slot == slot_) return true;  // a description's own lock is none in its way
  struct flock lock = slot_lock(slot, F_WRLCK);
  if (::fcntl(file_, F_OFD_GETLK, &lock) != 0) return true;  // not known: wait rather than do harm
  return lock.l_type != F_UNLCK;
}

void SharedPresence::ring(unsigned slot) const noexcept {
  std::atomic<std::uint32_t>& bell = table_.slots[slot].bell;
  bell.fetch_add(1);
  LockSupport::wake(bell, 1, LockSupport::Scope::Shared);
}

void SharedPresence::begin_wait() noexcept {
  if (waiting_.fetch_add(1) == 0) LockSupport::unpark(listener_);
}

SharedPlace& SharedPresence::place(std::uint64_t offset, FunctionRef<std::unique_ptr<SharedPlace>()> make) {
  const std::lock_guard guard{places_lock_};
  std::unique_ptr<SharedPlace>& place = places_[offset];
  if (place == nullptr) place = make();
  return *place;
}

// Parked while nobody waits, so that an idle process has no wake-ups.
void SharedPresence::listen() noexcept {
  const Blocker idle{this, "creel::SharedSegment", name_.c_str()};
  const Blocker listening{this, "creel::SharedSegment", name_.c_str(), nullptr, WaitKind::External};
  const std::atomic<std::uint32_t>& bell = table_.slots[slot_].bell;
  while (!stop_.load(std::memory_order_acquire)) {
    const std::uint32_t seen = bell.load();
    look();
    const auto wake = LockSupport::wait_on(bell, seen, listening, kSlice, LockSupport::Scope::Shared);
    if (wake == LockSupport::Wake::Interrupted) Thread::interrupted();  // nobody's business to end us
    if (wake != LockSupport::Wake::TimedOut) continue;
    while (waiting_.load() == 0 && !stop_.load(std::memory_order_acquire)) {
      LockSupport::park(idle);
      Thread::interrupted();
    }
  }
  ended_.release(1);
}

void SharedPresence::look() noexcept {
  const std::lock_guard guard{places_lock_};
  for (const auto& [offset, place] : places_) place->look();
}

/// The members of this process. Never destroyed: static objects may be among them.
class SharedMember::Registry {
 public:
  static Registry& instance() {
    static auto* registry = new Registry;
    return *registry;
  }

  std::mutex lock;
  std::vector<std::pair<SharedMember*, std::weak_ptr<SharedMember>>> members;

 private:
  Registry() {
    ThreadRegistry::instance();  // registered with pthread_atfork before us: its locks come after ours
    ::pthread_atfork([] { instance().lock.lock(); }, [] { instance().lock.unlock(); },
                     [] {
                       process_epoch.fetch_add(1, kRelaxed);
                       for (const auto& [member, weak] : instance().members) member->renew_file_after_fork();
                       instance().lock.unlock();
                     });
  }
};

std::shared_ptr<SharedMember> SharedMember::of(const SharedSegment& segment) {
  struct stat status {};
  if (::fstat(segment.descriptor(), &status) != 0)
    throw IoError("stat shared segment", segment.name(), errno);
  Registry& registry = Registry::instance();
  const std::lock_guard guard{registry.lock};
  for (const auto& [member, weak] : registry.members) {
    if (member->device_ != status.st_dev || member->inode_ != status.st_ino) continue;
    if (auto shared = weak.lock()) return shared;  // else it is on its way out, waiting for our lock
  }
  std::shared_ptr<SharedMember> made(new SharedMember(segment, status.st_dev, status.st_ino));
  registry.members.emplace_back(made.get(), made);
  return made;
}

SharedMember::SharedMember(const SharedSegment& segment, dev_t device, ino_t inode)
    : name_(segment.name()),
      device_(device),
      inode_(inode),
      bytes_(segment.size()),
      table_offset_(segment.members()),
      file_(open_again(segment.descriptor())) {
  if (!file_) throw IoError("open shared segment again", name_, errno);
  void* const base = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (base == MAP_FAILED) throw IoError("map shared segment", name_, errno);
  base_ = static_cast<std::byte*>(base);
}

SharedMember::~SharedMember() {
  {
    Registry& registry = Registry::instance();
    const std::lock_guard guard{registry.lock};
    std::erase_if(registry.members, [this](const auto& entry) { return entry.first == this; });
  }
  // The parent's threads, which its queues name, are not in a child.
  if (presence_ != nullptr && !presence_->is_current()) static_cast<void>(presence_.release());
  presence_.reset();
  ::munmap(base_, bytes_);
}

SharedPresence& SharedMember::presence() {
  const std::lock_guard guard{Registry::instance().lock};
  if (presence_ == nullptr || !presence_->is_current()) {
    static_cast<void>(presence_.release());
    if (!file_) throw IoError("open shared segment in the child of a fork", name_, EBADF);
    presence_ = std::make_unique<SharedPresence>(at<SharedMemberTable>(table_offset_), file_.get(), name_);
  }
  return *presence_;
}

// The child has the parent's description, which would make the parent look alive for as long as the child
// lives. Only what may be called between fork() and exec().
void SharedMember::renew_file_after_fork() noexcept {
  const int fresh = open_again(file_.get());
  if (fresh < 0) {
    file_.reset();
    return;
  }
  ::dup3(fresh, file_.get(), O_CLOEXEC);  // closes the parent's
  ::close(fresh);
}

}  // namespace creel::detail
