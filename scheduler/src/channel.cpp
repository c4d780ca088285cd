#include <creel/runtime/error.hpp>
#include <creel/scheduler/channel.hpp>

#include <algorithm>
#include <array>
#include <atomic>

namespace creel::scheduler {
namespace {

constexpr std::uint64_t kAnyTurn = 0;

std::int64_t now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Deadline::Clock::now().time_since_epoch())
      .count();
}

}  // namespace

// Lies on the stack of the thread that waits, and in a list while nobody has woken it.
struct ChannelBase::Waiter {
  Thread thread = Thread::current();
  std::uint64_t sequence = kAnyTurn;   // a putter's number
  std::atomic<bool> signalled{false};  // out of the list, and woken
  Waiter* previous = nullptr;
  Waiter* next = nullptr;
};

// The threads to wake once the lock is given back: waking one that then runs into the lock would cost a
// switch.
class ChannelBase::Wakes {
 public:
  Wakes() noexcept = default;
  Wakes(const Wakes&) = delete;
  Wakes& operator=(const Wakes&) = delete;
  ~Wakes() {
    for (std::size_t i = 0; i < count_; ++i) LockSupport::unpark(threads_[i]);
  }

  // The waiter may be gone as soon as it sees `signalled`: its handle is moved out first.
  void signal(WaitList& list, Waiter& waiter) noexcept {
    list.remove(waiter);
    Thread thread = std::move(waiter.thread);
    waiter.signalled.store(true,
                           std::memory_order_release);  // pairs with the waiter's acquire: it may leave then
    if (count_ < threads_.size()) {
      threads_[count_++] = std::move(thread);
    } else {
      LockSupport::unpark(thread);
    }
  }

 private:
  std::array<Thread, 4> threads_;
  std::size_t count_ = 0;
};

void ChannelBase::WaitList::push(Waiter& waiter) noexcept {
  waiter.previous = last;
  waiter.next = nullptr;
  (last != nullptr ? last->next : first) = &waiter;
  last = &waiter;
}

void ChannelBase::WaitList::remove(Waiter& waiter) noexcept {
  (waiter.previous != nullptr ? waiter.previous->next : first) = waiter.next;
  (waiter.next != nullptr ? waiter.next->previous : last) = waiter.previous;
}

std::chrono::nanoseconds ChannelBase::WaitList::time(std::int64_t now) const noexcept {
  return total + std::chrono::nanoseconds(waiting * now - since_sum);
}

ChannelBase::ChannelBase(std::string producer, std::string consumer, std::size_t capacity)
    : name_(producer + " -> " + consumer),
      empty_text_(name_ + ", empty, fed by stage " + producer),
      turn_text_(name_ + ", next item not ready, fed by stage " + producer),
      full_text_(name_ + ", full, drained by stage " + consumer),
      states_(capacity, Slot::Empty) {
  if (capacity == 0) throw Error("channel " + name_ + " has capacity 0; give it at least 1");
}

ChannelBase::~ChannelBase() = default;

ChannelStats ChannelBase::stats() const {
  const std::unique_lock<std::mutex> guard(mutex_);
  const std::int64_t now = now_ns();
  return {.items = taken_, .depth = depth_, .blocked = putters_.time(now), .starved = takers_.time(now)};
}

void ChannelBase::close() noexcept { end(End::Closed, nullptr); }
void ChannelBase::cancel() noexcept { end(End::Cancelled, nullptr); }
void ChannelBase::fail(std::exception_ptr failure) noexcept { end(End::Failed, std::move(failure)); }

void ChannelBase::end(End how, std::exception_ptr failure) noexcept {
  Wakes wakes;
  const std::unique_lock<std::mutex> guard(mutex_);
  if (how <= end_) return;  // a harder end replaces a softer one, and the first failure stays
  end_ = how;
  failure_ = std::move(failure);
  while (putters_.first != nullptr) wakes.signal(putters_, *putters_.first);
  while (takers_.first != nullptr) wakes.signal(takers_, *takers_.first);
}

const char* ChannelBase::text_for(const WaitList& list) const noexcept {
  if (&list == &putters_) return full_text_.c_str();
  return depth_ == 0 ? empty_text_.c_str() : turn_text_.c_str();
}

template <typename Ready>
void ChannelBase::wait(std::unique_lock<std::mutex>& lock, WaitList& list, std::uint64_t sequence,
                       Deadline deadline, Ready ready) {
  const std::int64_t since = now_ns();
  list.since_sum += since;
  ++list.waiting;
  struct Timed {
    WaitList& waits;
    std::int64_t from;
    ~Timed() {
      waits.since_sum -= from;
      --waits.waiting;
      waits.total += std::chrono::nanoseconds(now_ns() - from);
    }
  } timed{list, since};  // its end runs under the lock, also when wait_once throws
  while (!ready()) {
    Waiter waiter;
    waiter.sequence = sequence;
    wait_once(lock, list, waiter, deadline);
  }
}

// Returns with the lock, after a signal; throws with the lock, out of the list.
void ChannelBase::wait_once(std::unique_lock<std::mutex>& lock, WaitList& list, Waiter& waiter,
                            Deadline deadline) {
  list.push(waiter);
  const Blocker blocker{
      .object = this, .type = "creel::scheduler::Channel", .name = text_for(list), .wakers = &users_};
  lock.unlock();
  bool interrupted = false;
  bool expired = false;
  while (!waiter.signalled.load(std::memory_order_acquire) && !interrupted && !expired) {
    LockSupport::park(blocker, deadline);
    interrupted = Thread::interrupted();
    expired = deadline.expired();
  }
  lock.lock();
  if (!interrupted && !expired) return;
  Wakes wakes;
  if (!waiter.signalled.load(std::memory_order_relaxed)) {  // the lock orders it
    list.remove(waiter);
    if (expired && !interrupted) throw TimeoutError("waited too long: " + std::string(blocker.name));
  } else if (!interrupted) {
    return;  // the signal came with the deadline: look once more
  } else {
    pass_on(list, wakes);  // this thread leaves; its wake-up is somebody else's
  }
  throw InterruptedError("interrupted while waiting: " + std::string(blocker.name));
}

void ChannelBase::pass_on(WaitList& list, Wakes& wakes) noexcept {
  if (&list == &takers_) {
    wake_taker(wakes);
  } else {
    wake_putters(wakes);
  }
}

std::uint64_t ChannelBase::reserve(std::unique_lock<std::mutex>& lock, std::uint64_t sequence,
                                   Deadline deadline) {
  const bool next = sequence == kNext;
  const auto room = [&] { return end_ != End::Open || (next ? tail_ : sequence) < head_ + states_.size(); };
  if (!room()) wait(lock, putters_, next ? kAnyTurn : sequence, deadline, room);
  if (end_ == End::Failed) std::rethrow_exception(failure_);
  if (end_ != End::Open) return kNext;
  if (next) sequence = tail_;
  CREEL_ASSERT(sequence >= head_ && states_[slot_of(sequence)] == Slot::Empty, "a number is used once");
  tail_ = std::max(tail_, sequence + 1);
  return sequence;
}

void ChannelBase::commit(std::unique_lock<std::mutex>& lock, std::uint64_t sequence, Slot state) noexcept {
  Wakes wakes;
  states_[slot_of(sequence)] = state;
  if (state == Slot::Full) {
    ++depth_;
  } else {
    skip_holes();
    wake_putters(wakes);
  }
  wake_taker(wakes);
  lock.unlock();
}

bool ChannelBase::acquire(std::unique_lock<std::mutex>& lock, Deadline deadline) {
  const auto ready = [&] { return end_ != End::Open || states_[head_slot()] == Slot::Full; };
  if (!ready()) wait(lock, takers_, kAnyTurn, deadline, ready);
  if (end_ == End::Failed) std::rethrow_exception(failure_);
  return end_ != End::Cancelled && states_[head_slot()] == Slot::Full;
}

std::uint64_t ChannelBase::release(std::unique_lock<std::mutex>& lock) noexcept {
  Wakes wakes;
  states_[head_slot()] = Slot::Empty;
  ++head_;
  --depth_;
  const std::uint64_t before = taken_++;
  skip_holes();
  wake_putters(wakes);
  wake_taker(wakes);  // an item that came before its turn may be next now
  lock.unlock();
  return before;
}

void ChannelBase::skip_holes() noexcept {
  while (states_[head_slot()] == Slot::Hole) {
    states_[head_slot()] = Slot::Empty;
    ++head_;
  }
}

void ChannelBase::wake_taker(Wakes& wakes) noexcept {
  if (takers_.first != nullptr && states_[head_slot()] == Slot::Full) wakes.signal(takers_, *takers_.first);
}

// Putters that wait are let in when half of the room is free: then a switch of threads serves many items, not
// one. A plain putter comes for each free slot, a numbered one when its number has come into the nearer half
// of the window.
void ChannelBase::wake_putters(Wakes& wakes) noexcept {
  if (putters_.first == nullptr) return;
  const std::uint64_t half = states_.size() - states_.size() / 2;
  std::uint64_t room = head_ + states_.size() - tail_;
  if (room < half) room = 0;
  for (Waiter* waiter = putters_.first; waiter != nullptr;) {
    Waiter& candidate = *waiter;
    waiter = waiter->next;
    if (candidate.sequence == kAnyTurn) {
      if (room == 0) return;
      --room;
      wakes.signal(putters_, candidate);
    } else if (candidate.sequence < head_ + half) {
      wakes.signal(putters_, candidate);
    }
  }
}

}  // namespace creel::scheduler
