#include "thread_record.hpp"

#include "native_thread.hpp"
#include "thread_local_map.hpp"
#include "uncaught_handlers.hpp"

#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

// See fresh_thread_local.hpp.
extern "C" {
[[gnu::tls_model("initial-exec"),
  gnu::visibility("hidden")]] thread_local constinit creel::detail::ThreadRecord* creel_thread_record =
    nullptr;
}

namespace creel::detail {
namespace {

constexpr std::size_t kShards = 64;

struct alignas(64) Shard {
  SpinLock lock;
  ThreadRecord* head = nullptr;
  std::uint64_t virtual_live = 0;
};

std::string kernel_name() {
  if (::gettid() == ::getpid()) return "main";
  char comm[16] = {};
  ::prctl(PR_GET_NAME, comm);
  return comm;
}

}  // namespace

std::uint64_t next_thread_id() noexcept {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

struct ThreadRegistry::State {
  std::array<Shard, kShards> shards;
  std::atomic<std::uint64_t> live{0}, peak{0}, started{0}, daemon{0};  // of platform threads

  Shard& shard(const ThreadRecord& record) noexcept {
    return shard(record.id.load(std::memory_order_relaxed));
  }
  // Threads that were made one after the other mostly end so: they share a shard, whose cache line then stays
  // where it is for a while, and their neighbours in its list are those whose turn is next.
  Shard& shard(std::uint64_t id) noexcept { return shards[id / kShards % kShards]; }
};

ThreadRegistry& ThreadRegistry::instance() noexcept {
  static ThreadRegistry registry;
  return registry;
}

ThreadRegistry::ThreadRegistry() : state_(new State) {
  ::pthread_atfork(
      [] {
        for (Shard& shard : instance().state_->shards) shard.lock.lock();
      },
      [] {
        for (Shard& shard : instance().state_->shards) shard.lock.unlock();
      },
      [] {
        // The other threads are gone, in the middle of whatever they did: their records leave the lists but
        // are not destroyed, since that would run destructors of user objects in an unknown state.
        State& state = *instance().state_;
        ThreadRecord* self = current_record_or_null();
        for (Shard& shard : state.shards) {
          shard.head = nullptr;
          shard.virtual_live = 0;
          shard.lock.unlock();
        }
        const bool listed = self != nullptr && self->self_ != nullptr;
        if (listed) {
          self->previous_ = self->next_ = nullptr;
          Shard& shard = state.shard(*self);
          shard.head = self;
          shard.virtual_live = self->is_virtual ? 1 : 0;
          if (!self->is_virtual) self->os_tid.store(::gettid(), std::memory_order_relaxed);
        }
        const std::uint64_t platform = listed && !self->is_virtual ? 1 : 0;
        state.live = state.peak = state.started = platform;
        state.daemon = platform != 0 && self->daemon ? 1 : 0;
      });
}

void ThreadRegistry::add(std::shared_ptr<ThreadRecord> record) {
  ThreadRecord& r = *record;
  Shard& shard = state_->shard(r);
  {
    const std::lock_guard guard{shard.lock};
    r.next_ = shard.head;
    if (shard.head != nullptr) shard.head->previous_ = &r;
    shard.head = &r;
    r.self_ = std::move(record);
    if (r.is_virtual) {
      ++shard.virtual_live;
      return;
    }
  }
  state_->started.fetch_add(1, std::memory_order_relaxed);
  if (r.daemon) state_->daemon.fetch_add(1, std::memory_order_relaxed);
  const std::uint64_t live = state_->live.fetch_add(1, std::memory_order_relaxed) + 1;
  std::uint64_t peak = state_->peak.load(std::memory_order_relaxed);
  while (peak < live && !state_->peak.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

std::shared_ptr<ThreadRecord> ThreadRegistry::remove(ThreadRecord& record) noexcept {
  std::shared_ptr<ThreadRecord> self;
  {
    Shard& shard = state_->shard(record);
    const std::lock_guard guard{shard.lock};
    if (record.self_ == nullptr) return self;
    (record.previous_ != nullptr ? record.previous_->next_ : shard.head) = record.next_;
    if (record.next_ != nullptr) record.next_->previous_ = record.previous_;
    record.previous_ = record.next_ = nullptr;
    self = std::move(record.self_);
    if (record.is_virtual) {
      --shard.virtual_live;
      return self;
    }
  }
  state_->live.fetch_sub(1, std::memory_order_relaxed);
  if (record.daemon) state_->daemon.fetch_sub(1, std::memory_order_relaxed);
  return self;
}

std::vector<std::shared_ptr<ThreadRecord>> ThreadRegistry::snapshot() const {
  std::vector<std::shared_ptr<ThreadRecord>> records;
  for (Shard& shard : state_->shards) {
    const std::lock_guard guard{shard.lock};
    for (ThreadRecord* r = shard.head; r != nullptr; r = r->next_) records.push_back(r->self_);
  }
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
  return records;
}

std::shared_ptr<ThreadRecord> ThreadRegistry::find(std::uint64_t id) const {
  Shard& shard = state_->shard(id);
  const std::lock_guard guard{shard.lock};
  for (ThreadRecord* r = shard.head; r != nullptr; r = r->next_) {
    if (r->id == id) return r->self_;
  }
  return nullptr;
}

ThreadRegistry::Counts ThreadRegistry::counts() const noexcept {
  const auto read = [](const std::atomic<std::uint64_t>& n) { return n.load(std::memory_order_relaxed); };
  std::uint64_t virtual_live = 0;
  for (Shard& shard : state_->shards) {
    const std::lock_guard guard{shard.lock};
    virtual_live += shard.virtual_live;
  }
  return {read(state_->live), read(state_->peak), read(state_->started), read(state_->daemon), virtual_live};
}

void ThreadRegistry::reset_peak() noexcept {
  state_->peak.store(state_->live.load(std::memory_order_relaxed), std::memory_order_relaxed);
}

ThreadRecord::ThreadRecord(bool virtual_thread) : id(next_thread_id()), is_virtual(virtual_thread) {
  wait_node.thread = condition_node.thread = this;
}

ThreadRecord::~ThreadRecord() { forget_own_handler(*this); }

std::string ThreadRecord::name() const {
  std::string name(32, '\0');  // allocated before the lock is taken: most fit
  const std::lock_guard guard{name_lock};
  name = name_.view();
  return name;
}

void ThreadRecord::set_name(std::string_view name) {
  CompactName renamed(name);  // the old one goes after the lock
  const std::lock_guard guard{name_lock};
  name_ = std::move(renamed);
}

void ThreadRecord::set_name(std::string_view prefix, std::uint64_t number) {
  CompactName renamed(prefix, number);
  const std::lock_guard guard{name_lock};
  name_ = std::move(renamed);
}

std::uintptr_t ThreadRecord::pop_held(const void* object) noexcept {
  RunningState& mine = own();
  const std::uint32_t count = mine.held_count.load(std::memory_order_relaxed);
  if (count == 0) return 0;
  const auto shown = static_cast<std::uint32_t>(std::min<std::size_t>(count, kHeldShown));
  auto& held = mine.held;
  for (std::uint32_t i = shown; i-- > 0;) {
    if (held[i].object.load(std::memory_order_relaxed) != object) continue;
    const std::uintptr_t stack_pointer = held[i].stack_pointer.load(std::memory_order_relaxed);
    for (std::uint32_t j = i; j + 1 < shown; ++j) {
      const auto copy = [](auto& to, const auto& from) {
        to.store(from.load(std::memory_order_relaxed), std::memory_order_relaxed);
      };
      copy(held[j].object, held[j + 1].object);
      copy(held[j].type, held[j + 1].type);
      copy(held[j].name, held[j + 1].name);
      copy(held[j].stack_pointer, held[j + 1].stack_pointer);
      copy(held[j].monitor, held[j + 1].monitor);
    }
    if (count > kHeldShown)
      held[shown - 1].object.store(nullptr, std::memory_order_relaxed);  // one not shown moves up
    mine.held_count.store(count - 1, std::memory_order_release);
    return stack_pointer;
  }
  mine.held_count.store(count - 1, std::memory_order_release);
  return 0;
}

void ThreadRecord::end() noexcept {
  os_tid.store(0, std::memory_order_relaxed);
  forget_own_handler(*this);
  const std::shared_ptr<ThreadRecord> keep = ThreadRegistry::instance().remove(*this);
  joiners.change_and_wake_all([this] { state.store(ThreadState::Terminated, std::memory_order_release); });
}

void ActivityText::set(std::string_view text) noexcept {
  const std::size_t length = std::min(text.size(), kCapacity - 1);
  const std::uint64_t before = epoch.load(std::memory_order_relaxed);
  epoch.store(before + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);  // odd is seen before any new word
  for (std::size_t i = 0; i * 8 <= length; ++i) {       // <=: the word with the terminator too
    std::uint64_t word = 0;
    const std::size_t bytes = std::min<std::size_t>(8, length - i * 8);
    if (bytes > 0) std::memcpy(&word, text.data() + i * 8, bytes);
    words[i].store(word, std::memory_order_relaxed);
  }
  epoch.store(before + 2, std::memory_order_release);
}

std::string ActivityText::get() const {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const std::uint64_t before = epoch.load(std::memory_order_acquire);
    if (before % 2 != 0) {
      cpu_relax();
      continue;
    }
    std::array<std::uint64_t, kCapacity / 8> copy{};
    for (std::size_t i = 0; i < copy.size(); ++i) copy[i] = words[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);  // the words before the second look at the epoch
    if (epoch.load(std::memory_order_relaxed) != before) continue;
    const char* text = reinterpret_cast<const char*>(copy.data());
    return {text, ::strnlen(text, kCapacity)};
  }
  return {};  // its writer was interrupted half-way; the next dump has it
}

ThreadRecord& adopt_current_thread() noexcept {
  auto record = std::make_shared<PlatformThread>();
  record->adopted = true;
  record->set_name(kernel_name());
  record->state.store(ThreadState::Runnable, std::memory_order_relaxed);
  attach_record_to_thread(record);
  ThreadRegistry::instance().add(record);
  return *record;
}

void attach_record_to_thread(const std::shared_ptr<ThreadRecord>& record) noexcept {
  record->os_tid.store(::gettid(), std::memory_order_relaxed);
  record->own().started_ns = monotonic_ns();
  const StackBounds bounds = current_stack_bounds();
  record->stack_low = bounds.low;
  record->stack_high = bounds.high;
  set_current_record(record.get());
  end_with_thread(record, [](ThreadRecord& ended) {
    end_thread_locals(ended);
    set_current_record(nullptr);
    ended.end();
  });
}

bool safe_read(const void* from, void* to, std::size_t size) noexcept {
  const iovec local{to, size};
  const iovec remote{const_cast<void*>(from), size};
  return ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
}

}  // namespace creel::detail
