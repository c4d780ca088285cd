#include "virtual_scheduler.hpp"

#include "sync_point.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/log.hpp>

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kSearchRounds = 16;
// How long a woken thread may stand behind one that computes before an idle carrier takes it: at first, and
// when that has not happened for long.
constexpr std::chrono::milliseconds kShortWatch{2};
constexpr std::chrono::milliseconds kLongWatch{16};
constexpr std::uint32_t kNoHandOver = 256;

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
  pin_watch_.start();
}

const VirtualScheduler* VirtualScheduler::existing() noexcept {
  return instance_pointer.load(std::memory_order_acquire);
}

const Carrier* VirtualScheduler::carrier(std::size_t index) const noexcept {
  const Carrier* carrier = carriers_[index].load(std::memory_order_acquire);
  return carrier != nullptr && carrier->has_record.load(std::memory_order_acquire) ? carrier : nullptr;
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
  VirtualThread* last = inbox_.load(kRelaxed);
  do {
    thread.link = last;
  } while (!inbox_.compare_exchange_weak(last, &thread, std::memory_order_release, kRelaxed));
}

VirtualThread* VirtualScheduler::take_shared(Carrier& self) noexcept {
  if (shared_head_.load(kRelaxed) == nullptr && inbox_.load(kRelaxed) == nullptr) return nullptr;
  const std::lock_guard guard{shared_lock_};
  VirtualThread* head = shared_head_.load(kRelaxed);
  if (head == nullptr) {
    // acquire: what was done before the push. The last comes first: turned round, it is in order again.
    for (VirtualThread* thread = inbox_.exchange(nullptr, std::memory_order_acquire); thread != nullptr;) {
      VirtualThread* before = thread->link;
      thread->link = head;
      head = thread;
      thread = before;
      ++shared_size_;
    }
    if (head == nullptr) return nullptr;
  }
  const auto unlink = [&] {
    VirtualThread* thread = head;
    head = head->link;
    --shared_size_;
    return thread;
  };
  // A fair share of the rest at once, so that the lock is taken once for many.
  const std::size_t share = std::min<std::size_t>(shared_size_ / parallelism_, 64);
  sync_point();
  VirtualThread* first = unlink();
  for (std::size_t i = 0; i < share && head != nullptr && self.queue.size() < 128; ++i) {
    self.queue.push(unlink());
  }
  shared_head_.store(head, kRelaxed);
  return first;
}

void VirtualScheduler::push(Carrier& self, VirtualThread& thread) noexcept {
  if (!self.queue.push(&thread)) push_shared(thread);
}

void VirtualScheduler::submit_new(VirtualThread& thread) noexcept {
  Carrier* carrier = current_carrier();
  if (carrier == nullptr || &carrier->scheduler != this) {
    push_shared(thread);
  } else {
    push(*carrier, thread);
  }
  signal_work();
}

void VirtualScheduler::submit_woken(VirtualThread& thread) noexcept {
  Carrier* carrier = current_carrier();
  if (carrier == nullptr || &carrier->scheduler != this) {
    push_shared(thread);
    return signal_work();
  }
  // Without a running virtual thread it is the carrier that wakes, in between: it goes on at once with the
  // next.
  if (carrier->mounted == nullptr) return submit_again(*carrier, thread);
  if (const std::uint32_t wait = carrier->no_hand_over.load(kRelaxed); wait != 0) [[unlikely]] {
    carrier->no_hand_over.store(wait - 1, kRelaxed);
    push(*carrier, thread);
    return signal_work();
  }
  if (VirtualThread* before = carrier->queue.push_first(&thread); before != nullptr) {
    push(*carrier, *before);
    return signal_work();
  }
  // Between the place before the queue and the look at who watches it; stand_watch() has its counterpart.
  asymmetric_light_fence();
  if (!has_watch_.load(kRelaxed)) wake_a_carrier();
}

// The carrier itself goes on with what is first in its queue; others are called only if there is more.
void VirtualScheduler::submit_again(Carrier& self, VirtualThread& thread) noexcept {
  push(self, thread);
  if (self.queue.size() > 1) signal_work();
}

VirtualThread* VirtualScheduler::steal(Carrier& self) noexcept {
  const std::uint32_t count = carrier_count_.load(std::memory_order_acquire);
  const Carrier* watched = nullptr;
  for (std::uint32_t i = 1; i <= count; ++i) {
    Carrier& victim = *carriers_[(self.index + i) % count].load(std::memory_order_acquire);
    if (&victim == &self) continue;
    // A thread in the place before the queue is about to run, unless no turn has been given since we saw it.
    const std::uint32_t tick = victim.tick.load(kRelaxed);
    const bool stands = victim.queue.has_first();
    const bool stands_long = stands && self.watched == &victim && self.watched_tick == tick;
    if (VirtualThread* thread = victim.queue.steal(self.queue, stands_long)) {
      if (stands_long && !victim.queue.has_first()) victim.no_hand_over.store(kNoHandOver, kRelaxed);
      return thread;
    }
    if (stands && watched == nullptr) {
      watched = &victim;
      self.watched_tick = tick;
    }
  }
  self.watched = watched;
  return nullptr;
}

bool VirtualScheduler::has_work() const noexcept {
  if (inbox_.load(kRelaxed) != nullptr || shared_head_.load(kRelaxed) != nullptr) return true;
  const std::uint32_t count = carrier_count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (carriers_[i].load(std::memory_order_acquire)->queue.size() != 0) return true;
  }
  return false;
}

bool VirtualScheduler::has_hand_over() const noexcept {
  const std::uint32_t count = carrier_count_.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (carriers_[i].load(std::memory_order_acquire)->queue.has_first()) return true;
  }
  return false;
}

bool VirtualScheduler::is_surplus() const noexcept { return available_.load(kRelaxed) > parallelism_; }

bool VirtualScheduler::is_alone(const Carrier& self) const noexcept {
  return self.queue.size() == 0 && !self.queue.has_first() && inbox_.load(kRelaxed) == nullptr &&
         shared_head_.load(kRelaxed) == nullptr && !is_surplus();
}

VirtualScheduler::Counts VirtualScheduler::counts() const noexcept {
  return {parallelism_, carrier_count_.load(kRelaxed), available_.load(kRelaxed)};
}

// Wakes a carrier for new work, unless one is awake and looking for some: that one wakes the next when it
// finds it.
void VirtualScheduler::signal_work() noexcept {
  sync_point();
  // Between the new work and the look at who sleeps; wait_idle() has its counterpart.
  asymmetric_light_fence();
  wake_a_carrier();
}

void VirtualScheduler::wake_a_carrier() noexcept {
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

// Those that are idle look whether there is something to do.
void VirtualScheduler::wake_all_carriers() noexcept {
  const std::lock_guard guard{idle_lock_};
  for (Carrier* carrier : idle_) {
    idle_count_.fetch_sub(1, kRelaxed);
    carrier->is_woken.store(true, std::memory_order_release);
    LockSupport::unpark(*carrier->record);
  }
  idle_.clear();
}

void VirtualScheduler::stop_searching(Carrier& self) noexcept {
  if (!self.searching) return;
  self.searching = false;
  searching_.fetch_sub(1, std::memory_order_seq_cst);
  // Who found this one looking has called nobody: there may be work for one more.
  asymmetric_heavy_fence();
  if (has_work()) signal_work();
}

// Takes itself off the list of those who sleep; false if somebody has done so already, to wake it.
bool VirtualScheduler::leave_idle(Carrier& self) noexcept {
  const std::lock_guard guard{idle_lock_};
  if (self.is_woken.load(kRelaxed)) return false;
  std::erase(idle_, &self);
  idle_count_.fetch_sub(1, kRelaxed);
  return true;
}

VirtualThread* VirtualScheduler::wait_idle(Carrier& self) noexcept {
  if (shortage_.exists() && self.stack_count.load(kRelaxed) > 0) [[unlikely]] {
    begin_waiting(self, kDefaultVirtualStackBytes);
    return nullptr;
  }
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
  asymmetric_heavy_fence();  // see signal_work()
  if (has_work() && leave_idle(self)) return nullptr;
  const Blocker blocker{this, "creel::VirtualScheduler", "idle"};
  while (!self.is_woken.load(std::memory_order_acquire)) {
    const bool others_run = available_.load(kRelaxed) > idle_count_.load(kRelaxed) || has_hand_over();
    if (others_run && !has_watch_.exchange(true, std::memory_order_acq_rel)) {
      if (VirtualThread* thread = stand_watch(self)) return thread;
    } else {
      LockSupport::park(blocker);
    }
  }
  return nullptr;
}

// One idle carrier at a time looks now and then whether a woken thread waits in vain for the one before it to
// leave. It goes to sleep for good when nobody runs.
VirtualThread* VirtualScheduler::stand_watch(Carrier& self) noexcept {
  const Blocker blocker{this, "creel::VirtualScheduler", "idle"};
  auto period = kShortWatch;
  VirtualThread* thread = nullptr;
  while (!self.is_woken.load(std::memory_order_acquire)) {
    LockSupport::park(blocker, Deadline(period));
    thread = steal(self);
    if (thread != nullptr) break;
    period = self.watched != nullptr ? kShortWatch : std::min(2 * period, kLongWatch);
    if (available_.load(kRelaxed) <= idle_count_.load(kRelaxed) && !has_hand_over()) break;
  }
  has_watch_.store(false, kRelaxed);
  asymmetric_heavy_fence();  // see submit_woken()
  if (thread == nullptr) return nullptr;
  if (!leave_idle(self)) {
    // Woken for other work meanwhile: that is for the next.
    stop_searching(self);
    self.is_woken.store(false, kRelaxed);
  }
  if (has_hand_over()) signal_work();  // somebody has to stand in
  return thread;
}

VirtualThread* VirtualScheduler::pick(Carrier& self) noexcept {
  const std::uint32_t tick = self.tick.load(kRelaxed) + 1;
  self.tick.store(tick, kRelaxed);
  // Now and then the shared queue comes first, so that a busy local one does not starve it.
  if (tick % 64 == 0) {
    if (VirtualThread* thread = take_shared(self)) return thread;
  }
  return self.queue.pop();
}

VirtualThread* VirtualScheduler::search(Carrier& self) noexcept {
  // At most half of the carriers look around at a time.
  if (!self.searching) {
    if (2 * searching_.load(kRelaxed) >= parallelism_) return nullptr;
    self.searching = true;
    searching_.fetch_add(1, std::memory_order_seq_cst);
  }
  self.watched = nullptr;
  for (int round = 0; round < kSearchRounds; ++round) {
    if (VirtualThread* thread = steal(self)) return thread;
    if (VirtualThread* thread = take_shared(self)) return thread;
    for (int i = 0; i < 16; ++i) cpu_relax();
  }
  return nullptr;
}

VirtualThread& VirtualScheduler::next(Carrier& self) noexcept {
  if (VirtualThread* picked = std::exchange(self.picked, nullptr)) return *picked;
  for (;;) {
    retire_if_surplus(self);
    VirtualThread* thread = pick(self);
    if (thread == nullptr) thread = take_shared(self);
    if (thread == nullptr) thread = search(self);
    if (thread != nullptr) stop_searching(self);
    if (thread == nullptr) {
      thread = wait_idle(self);
      pin_watch_.notice();
    }
    if (thread != nullptr) return *thread;
  }
}

// After a carrier came back from foreign code there is one too many: this one leaves its work to the others.
void VirtualScheduler::retire_if_surplus(Carrier& self) noexcept {
  if (!is_surplus()) return;
  {
    const std::lock_guard guard{idle_lock_};
    if (!is_surplus()) return;
    available_.fetch_sub(1, kRelaxed);
    self.is_woken.store(false, kRelaxed);
    spare_.push_back(&self);
  }
  give_kept_stacks_back(self);
  while (VirtualThread* thread = self.queue.pop()) push_shared(*thread);
  if (self.searching) {
    self.searching = false;
    searching_.fetch_sub(1, std::memory_order_seq_cst);
  }
  asymmetric_heavy_fence();
  if (has_work()) signal_work();
  const Blocker blocker{this, "creel::VirtualScheduler", "spare"};
  while (!self.is_woken.load(std::memory_order_acquire)) LockSupport::park(blocker);
  pin_watch_.notice();
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

void VirtualScheduler::carrier_unblocks() noexcept {
  available_.fetch_add(1, kRelaxed);
  pin_watch_.notice();
}

void VirtualScheduler::pinned_wait_begins() {
  carrier_blocks();
  pinned_waits_.fetch_add(1, kRelaxed);
  pin_watch_.notice();
}

void VirtualScheduler::pinned_wait_ends() noexcept {
  pinned_waits_.fetch_sub(1, kRelaxed);
  carrier_unblocks();
}

}  // namespace creel::detail
