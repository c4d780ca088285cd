#include "virtual_scheduler.hpp"
#include "sync_point.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kSearchRounds = 16;

std::uint32_t configured_carriers() noexcept {
  if (const char* text = std::getenv("CREEL_CARRIERS"); text != nullptr) {
    std::uint32_t count = 0;
    const auto [end, error] = std::from_chars(text, text + std::strlen(text), count);
    if (error == std::errc{} && *end == '\0' && count >= 1 && count <= 256) return count;
    log::warn("virtual_threads.bad_environment", {{"CREEL_CARRIERS", text}, {"allowed", "1 to 256"}});
  }
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return static_cast<std::uint32_t>(std::clamp(CPU_COUNT(&allowed), 1, 256));
}

std::atomic<VirtualScheduler*> instance_pointer{nullptr};
std::mutex instance_lock;

}  // namespace

VirtualScheduler& VirtualScheduler::instance() {
  if (VirtualScheduler* scheduler = instance_pointer.load(std::memory_order_acquire)) return *scheduler;
  const std::lock_guard guard{instance_lock};
  if (VirtualScheduler* scheduler = instance_pointer.load(kRelaxed)) return *scheduler;
  auto* scheduler = new VirtualScheduler;  // never freed: its carriers run until the process ends
  static const int registered =
      ::pthread_atfork([] { instance_lock.lock(); }, [] { instance_lock.unlock(); },
                       [] {  // the carriers are gone; the child gets new ones when it needs them
                         instance_pointer.store(nullptr, kRelaxed);
                         reset_virtual_stacks_after_fork();
                         instance_lock.unlock();
                       });
  static_cast<void>(registered);
  instance_pointer.store(scheduler, std::memory_order_release);
  return *scheduler;
}

VirtualScheduler::VirtualScheduler()
    : parallelism_(configured_carriers()),
      container_(ThreadContainer::create("carriers of virtual threads", "creel::VirtualScheduler")) {
  idle_.reserve(kMostCarriers);
  spare_.reserve(kMostCarriers);
  const std::lock_guard guard{idle_lock_};
  for (std::uint32_t i = 0; i < parallelism_; ++i) start_carrier();
}

void VirtualScheduler::start_carrier() {
  const std::uint32_t index = carrier_count_.load(kRelaxed);
  auto* carrier = new Carrier(*this, index);
  available_.fetch_add(1, kRelaxed);
  try {
    Thread::of_platform()
        .name("carrier-" + std::to_string(index))
        .daemon()
        .container(container_)
        .start([this, carrier] { run(*carrier); });
  } catch (...) {
    available_.fetch_sub(1, kRelaxed);
    delete carrier;
    if (index == 0) throw;  // with fewer than wished for it goes on
    return;
  }
  carriers_[index].store(carrier, std::memory_order_release);
  carrier_count_.store(index + 1, std::memory_order_release);
}

void VirtualScheduler::push_shared(VirtualThread& thread) noexcept {
  thread.link = nullptr;
  const std::lock_guard guard{shared_lock_};
  (shared_tail_ != nullptr ? shared_tail_->link : shared_head_) = &thread;
  shared_tail_ = &thread;
  shared_size_.store(shared_size_.load(kRelaxed) + 1, kRelaxed);
}

VirtualThread* VirtualScheduler::take_shared(Carrier& self) noexcept {
  if (shared_size_.load(kRelaxed) == 0) return nullptr;
  const std::lock_guard guard{shared_lock_};
  std::size_t size = shared_size_.load(kRelaxed);
  if (size == 0) return nullptr;
  const auto unlink = [&] {
    VirtualThread* thread = shared_head_;
    shared_head_ = thread->link;
    if (shared_head_ == nullptr) shared_tail_ = nullptr;
    --size;
    return thread;
  };
  sync_point();
  VirtualThread* first = unlink();
  // A fair share of the rest at once, so that the lock is taken once for many.
  const std::size_t share = std::min<std::size_t>(size / parallelism_, 64);
  for (std::size_t i = 0; i < share && self.queue.size() < 128; ++i) self.queue.push(unlink());
  shared_size_.store(size, kRelaxed);
  return first;
}

VirtualThread* VirtualScheduler::steal(Carrier& self) noexcept {
  const std::uint32_t count = carrier_count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 1; i <= count; ++i) {
    Carrier& victim = *carriers_[(self.index + i) % count].load(std::memory_order_acquire);
    if (&victim == &self) continue;
    if (VirtualThread* thread = victim.queue.steal(self.queue)) return thread;
  }
  return nullptr;
}

bool VirtualScheduler::has_work() const noexcept {
  if (shared_size_.load(kRelaxed) != 0) return true;
  const std::uint32_t count = carrier_count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (carriers_[i].load(std::memory_order_acquire)->queue.size() != 0) return true;
  }
  return false;
}

// Wakes a carrier for new work, unless one is awake and looking for some: that one wakes the next when it
// finds it.
void VirtualScheduler::signal_work() noexcept {
  // Between the new work and the look at who sleeps; wait_idle() has its counterpart.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (idle_count_.load(kRelaxed) == 0 || searching_.load(kRelaxed) != 0) return;
  Carrier* carrier = nullptr;
  {
    const std::lock_guard guard{idle_lock_};
    if (idle_.empty() || searching_.load(kRelaxed) != 0) return;
    carrier = idle_.back();
    idle_.pop_back();
    idle_count_.fetch_sub(1, kRelaxed);
    searching_.fetch_add(1, kRelaxed);
    carrier->searching = true;
    carrier->is_woken.store(true, std::memory_order_release);
  }
  LockSupport::unpark(*carrier->record);
}

void VirtualScheduler::stop_searching(Carrier& self) noexcept {
  if (!self.searching) return;
  self.searching = false;
  // The last one to look around: there may be work for one more.
  if (searching_.fetch_sub(1, std::memory_order_seq_cst) == 1 && has_work()) signal_work();
}

void VirtualScheduler::wait_idle(Carrier& self) noexcept {
  {
    const std::lock_guard guard{idle_lock_};
    self.is_woken.store(false, kRelaxed);
    idle_.push_back(&self);
    idle_count_.fetch_add(1, kRelaxed);
    if (self.searching) {
      self.searching = false;
      searching_.fetch_sub(1, kRelaxed);
    }
  }
  sync_point();
  std::atomic_thread_fence(std::memory_order_seq_cst);  // see signal_work()
  if (has_work()) {
    const std::lock_guard guard{idle_lock_};
    if (!self.is_woken.load(kRelaxed)) {
      std::erase(idle_, &self);
      idle_count_.fetch_sub(1, kRelaxed);
      return;
    }
  }
  const Blocker blocker{this, "creel::VirtualScheduler", "idle"};
  while (!self.is_woken.load(std::memory_order_acquire)) LockSupport::park(blocker);
}

VirtualThread* VirtualScheduler::find_runnable(Carrier& self) noexcept {
  // Now and then first, so that a busy local queue does not starve the shared one.
  if (++self.tick % 61 == 0) {
    if (VirtualThread* thread = take_shared(self)) return thread;
  }
  if (VirtualThread* thread = self.queue.pop()) return thread;
  return take_shared(self);
}

VirtualThread& VirtualScheduler::next(Carrier& self) noexcept {
  for (;;) {
    retire_if_surplus(self);
    VirtualThread* thread = find_runnable(self);
    if (thread == nullptr) {
      // At most half of the carriers look around at a time.
      if (!self.searching && 2 * searching_.load(kRelaxed) < parallelism_) {
        self.searching = true;
        searching_.fetch_add(1, std::memory_order_seq_cst);
      }
      for (int round = 0; self.searching && thread == nullptr && round < kSearchRounds; ++round) {
        thread = steal(self);
        if (thread == nullptr) thread = take_shared(self);
        for (int i = 0; thread == nullptr && i < 16; ++i) cpu_relax();
      }
    }
    if (thread != nullptr) {
      stop_searching(self);
      return *thread;
    }
    wait_idle(self);
  }
}

// After a carrier came back from foreign code there is one too many: this one leaves its work to the others.
void VirtualScheduler::retire_if_surplus(Carrier& self) noexcept {
  std::uint32_t available = available_.load(kRelaxed);
  if (available <= parallelism_) return;
  {
    const std::lock_guard guard{idle_lock_};
    available = available_.load(kRelaxed);
    if (available <= parallelism_) return;
    available_.fetch_sub(1, kRelaxed);
    self.is_woken.store(false, kRelaxed);
    spare_.push_back(&self);
  }
  bool left_work = false;
  while (VirtualThread* thread = self.queue.pop()) {
    push_shared(*thread);
    left_work = true;
  }
  if (self.searching) {
    self.searching = false;
    searching_.fetch_sub(1, std::memory_order_seq_cst);
    left_work = left_work || has_work();
  }
  if (left_work) signal_work();
  const Blocker blocker{this, "creel::VirtualScheduler", "spare"};
  while (!self.is_woken.load(std::memory_order_acquire)) LockSupport::park(blocker);
}

void VirtualScheduler::carrier_blocks() {
  Carrier* spare = nullptr;
  {
    const std::lock_guard guard{idle_lock_};
    if (available_.fetch_sub(1, kRelaxed) - 1 >= parallelism_) return;
    if (!spare_.empty()) {
      spare = spare_.back();
      spare_.pop_back();
      available_.fetch_add(1, kRelaxed);
      spare->is_woken.store(true, std::memory_order_release);
    } else if (carrier_count_.load(kRelaxed) < kMostCarriers) {
      start_carrier();
    }
  }
  if (spare != nullptr) LockSupport::unpark(*spare->record);
}

void VirtualScheduler::carrier_unblocks() noexcept { available_.fetch_add(1, kRelaxed); }

}  // namespace creel::detail
