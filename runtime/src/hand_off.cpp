#include "spin_wait.hpp"
#include "sync_point.hpp"
#include "thread_record.hpp"

#include <creel/runtime/detail/hand_off.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/lock_support.hpp>

namespace creel::detail {
namespace {

std::string lacks(const std::string& name, const char* what) { return name.empty() ? name : name + what; }

// Two threads that hand over all the time meet within this; it is less than a park costs. With one processor
// nobody can come while we spin, and a virtual thread leaves its carrier for next to nothing.
bool met_while_spinning(const HandOffNode& node, const ThreadRecord& self) noexcept {
  const int spins = brief_spins();
  for (int i = 0; !self.is_virtual && i < spins; ++i) {
    if (node.state.load(std::memory_order_relaxed) != HandOffNode::State::Waiting) return true;
    cpu_relax();
  }
  return false;
}

}  // namespace

HandOffCore::HandOffCore(const char* type, const std::string& name, Order order, const WakerSet* users)
    : lock_(name),
      type_(type),
      order_(order),
      users_(users),
      no_giver_(lacks(name, ", empty")),
      no_taker_(lacks(name, ", no taker")) {}

HandOffCore::~HandOffCore() { CREEL_ASSERT(head_ == nullptr, "a queue was destroyed while threads wait"); }

HandOffNode* HandOffCore::serve(bool data) noexcept {
  HandOffNode* node = order_ == Order::Fifo ? head_ : tail_;
  if (node == nullptr || node->is_data != data) return nullptr;
  unlink(*node);
  return node;
}

void HandOffCore::append(HandOffNode& node, bool waits) noexcept {
  if (waits) node.waiter = current_record().shared_from_this();
  node.previous = tail_;
  (tail_ != nullptr ? tail_->next : head_) = &node;
  tail_ = &node;
  node.is_linked = true;
  (node.is_data ? givers_ : takers_).fetch_add(1, std::memory_order_relaxed);
}

void HandOffCore::unlink(HandOffNode& node) noexcept {
  (node.previous != nullptr ? node.previous->next : head_) = node.next;
  (node.next != nullptr ? node.next->previous : tail_) = node.previous;
  node.is_linked = false;
  (node.is_data ? givers_ : takers_).fetch_sub(1, std::memory_order_relaxed);
}

void HandOffCore::finish(HandOffNode& node) noexcept {
  // Ours now: once the state says so the other may free the node, go on and end before we wake it.
  const std::shared_ptr<ThreadRecord> waiter = std::move(node.waiter);
  sync_point();
  node.state.store(HandOffNode::State::Done, std::memory_order_release);  // publishes the element, or its end
  sync_point();
  LockSupport::unpark(*waiter);
}

HandOffCore::Outcome HandOffCore::wait(HandOffNode& node, const void* queue, Deadline deadline) {
  ThreadRecord& self = current_record();
  const std::string& lack = node.is_data ? no_taker_ : no_giver_;
  const Blocker blocker{
      .object = queue, .type = type_, .name = lack.empty() ? nullptr : lack.c_str(), .wakers = users_};
  met_while_spinning(node, self);
  for (;;) {
    const HandOffNode::State state = node.state.load(std::memory_order_acquire);
    if (state == HandOffNode::State::Done) return Outcome::Done;
    if (state == HandOffNode::State::Closed) {
      const std::lock_guard guard{lock_};  // close() still looks at the node until it lets go
      return Outcome::Closed;
    }
    const bool interrupted = self.interrupted.load(std::memory_order_relaxed);
    if (!interrupted && !deadline.expired()) {
      LockSupport::park(blocker, deadline);
      continue;
    }
    {
      const std::lock_guard guard{lock_};
      if (node.is_linked) {
        unlink(node);
        if (!interrupted) return Outcome::TimedOut;
        self.take_interrupt();
        throw InterruptedError(std::string("interrupted while waiting on a ") + type_ +
                               (lack.empty() ? "" : " \"" + lack + "\""));
      }
    }
    Thread::yield();  // somebody serves us at this moment
  }
}

void HandOffCore::close() noexcept {
  const std::lock_guard guard{lock_};
  closed_.store(true, std::memory_order_relaxed);
  for (HandOffNode* node = head_; node != nullptr;) {
    HandOffNode& leaving = *node;
    node = node->next;
    if (leaving.waiter == nullptr) continue;  // left by put(): still to be given out
    unlink(leaving);
    leaving.state.store(HandOffNode::State::Closed, std::memory_order_release);
    LockSupport::unpark(*leaving.waiter);  // it cannot leave while we hold the lock
  }
}

}  // namespace creel::detail
