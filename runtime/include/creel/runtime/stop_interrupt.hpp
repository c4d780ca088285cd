#pragma once

#include <atomic>
#include <optional>
#include <stop_token>

namespace creel {
namespace detail {
class ThreadRecord;
}

/// While it lives, a request to stop on a std::stop_token interrupts the calling thread: every blocking call
/// of creel's answers the token then, with InterruptedError.
///
///     void serve(std::stop_token stop) {
///       const creel::StopInterrupt interrupt{stop};
///       for (;;) handle(requests.take());  // throws InterruptedError when stop is requested
///     }
///
/// A request interrupts once, at the moment it is made; if it was made before, in the constructor. (The token
/// of Thread::Builder::start goes the other way: interrupt() requests it to stop.) After the destructor
/// nothing of it is left: no interrupt arrives late, and one that nobody has taken is taken back, unless
/// Thread::interrupt() has been called as well. They nest, in the order of their scopes, on the thread that
/// made them.
class StopInterrupt {
 public:
  explicit StopInterrupt(std::stop_token token);
  ~StopInterrupt();
  StopInterrupt(const StopInterrupt&) = delete;
  StopInterrupt& operator=(const StopInterrupt&) = delete;

 private:
  struct Request {
    StopInterrupt& bridge;
    void operator()() const noexcept;
  };

  bool is_requested_outside() const noexcept;

  detail::ThreadRecord& record_;
  StopInterrupt* const outer_;
  std::atomic<bool> is_requested_{false};
  std::optional<std::stop_callback<Request>> callback_;
};

}  // namespace creel
