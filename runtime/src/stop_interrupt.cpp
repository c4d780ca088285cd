#include "thread_record.hpp"

#include <creel/runtime/lock_support.hpp>
#include <creel/runtime/stop_interrupt.hpp>
#include <creel/runtime/thread_local.hpp>

#include <utility>

namespace creel {
namespace {

// The innermost of a thread; few have any.
const ThreadLocal<StopInterrupt*>& innermost() {
  static const auto* pointer = new ThreadLocal<StopInterrupt*>;  // never freed: threads may outlive statics
  return *pointer;
}

}  // namespace

StopInterrupt::StopInterrupt(std::stop_token token)
    : record_(detail::current_record()), outer_(std::exchange(innermost().get(), this)) {
  callback_.emplace(std::move(token), Request{*this});  // calls it here if the stop was requested before
}

// On whatever thread requests the stop. The thread of the bridge lives: ~stop_callback() waits for this.
void StopInterrupt::Request::operator()() const noexcept {
  bridge.is_requested_.store(true, std::memory_order_relaxed);
  bridge.record_.interrupted.fetch_or(detail::ThreadRecord::kStopInterrupt, std::memory_order_seq_cst);
  LockSupport::unpark(bridge.record_);
}

bool StopInterrupt::is_requested_outside() const noexcept {
  for (const StopInterrupt* each = outer_; each != nullptr; each = each->outer_) {
    if (each->is_requested_.load(std::memory_order_relaxed)) return true;
  }
  return false;
}

StopInterrupt::~StopInterrupt() {
  callback_.reset();  // from here on it does not call
  innermost().get() = outer_;
  // What is left of the flag may be that of one around us: then that one clears it.
  if (!is_requested_.load(std::memory_order_relaxed) || is_requested_outside()) return;
  record_.interrupted.fetch_and(static_cast<std::uint8_t>(~detail::ThreadRecord::kStopInterrupt),
                                std::memory_order_seq_cst);
  // One that was requested between the two lines.
  if (is_requested_outside()) record_.put_interrupt_back(detail::ThreadRecord::kStopInterrupt);
}

}  // namespace creel
