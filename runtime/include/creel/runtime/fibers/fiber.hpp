#pragma once

#include <creel/runtime/fibers/time.hpp>
#include <creel/runtime/thread.hpp>
#include <creel/runtime/thread_local.hpp>

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace creel::fibers {

/// Boost.Fiber enters a new fiber at once (dispatch) or when its turn comes (post). Here, it may run on
/// another carrier at once either way; with dispatch, a fiber that starts another one offers its carrier to
/// it first.
enum class launch { dispatch, post };

/// How large a fiber's stack is. What Boost's stack allocators differ in (guard page, pool) the runtime does
/// for all stacks.
class fixedsize_stack {
 public:
  explicit fixedsize_stack(std::size_t bytes = kDefaultBytes) noexcept : bytes_(bytes) {}
  std::size_t size() const noexcept { return bytes_; }

 private:
  static constexpr std::size_t kDefaultBytes =
      128 * 1024;  // Boost's: code that was written for it may need it
  std::size_t bytes_;
};

class protected_fixedsize_stack : public fixedsize_stack {
 public:
  using fixedsize_stack::fixedsize_stack;
};

class pooled_fixedsize_stack : public fixedsize_stack {
 public:
  explicit pooled_fixedsize_stack(std::size_t bytes = fixedsize_stack().size(), std::size_t = 32,
                                  std::size_t = 0) noexcept
      : fixedsize_stack(bytes) {}
};

using default_stack = fixedsize_stack;

namespace detail {

Thread start(std::function<void()> body, launch policy, std::size_t stack_bytes);

/// `function` with its arguments, copied now and called once.
template <typename Function, typename... Arguments>
auto bind_once(Function&& function, Arguments&&... arguments) {
  return [function = std::decay_t<Function>(std::forward<Function>(function)),
          arguments = std::tuple<std::decay_t<Arguments>...>(std::forward<Arguments>(arguments)...)]() mutable
         -> decltype(auto) { return std::apply(std::move(function), std::move(arguments)); };
}

/// As a std::function, whatever can only be moved in it.
template <typename Call>
std::function<void()> shared_call(Call call) {
  return [call = std::make_shared<Call>(std::move(call))]() mutable {
    const std::shared_ptr<Call> mine = std::move(call);  // ends with the call, on its own fiber
    (*mine)();
  };
}

template <typename Type>
concept StackAllocator = std::is_base_of_v<fixedsize_stack, std::remove_cvref_t<Type>>;

template <typename Type, typename... Excluded>
concept NoneOf = (!std::is_same_v<std::remove_cvref_t<Type>, Excluded> && ...);

}  // namespace detail

/// boost::fibers::fiber as a virtual thread: it runs on any of creel's carriers, and dumps show it by name
/// ("fiber-7") in the container "fibers". See creel/runtime/fiber_bridge.hpp for what differs.
///
///     fibers::fiber worker{[&] { … }};
///     worker.join();
///
/// Memory effects: as of Thread.
class fiber {
 public:
  class id {
   public:
    id() noexcept = default;
    friend auto operator<=>(const id&, const id&) noexcept = default;
    explicit operator bool() const noexcept { return number_ != 0; }
    bool operator!() const noexcept { return number_ == 0; }

    template <typename Char, typename Traits, template <typename, typename> typename Stream>
    friend Stream<Char, Traits>& operator<<(Stream<Char, Traits>& out, const id& self) {
      return self ? (out << self.number_) : (out << "{not-valid}");
    }

   private:
    friend class fiber;
    friend struct std::hash<id>;
    explicit id(std::uint64_t number) noexcept : number_(number) {}
    std::uint64_t number_ = 0;
  };

  fiber() noexcept = default;
  template <typename Function, typename... Arguments>
  requires detail::NoneOf<Function, fiber, launch, std::allocator_arg_t>
  explicit fiber(Function&& function, Arguments&&... arguments)
      : fiber(launch::post, std::forward<Function>(function), std::forward<Arguments>(arguments)...) {}
  template <typename Function, typename... Arguments>
  requires detail::NoneOf<Function, std::allocator_arg_t> fiber(launch policy, Function&& function,
                                                                Arguments&&... arguments)
      : fiber(policy, std::allocator_arg, default_stack(), std::forward<Function>(function),
              std::forward<Arguments>(arguments)...) {}
  template <detail::StackAllocator Stack, typename Function, typename... Arguments>
  fiber(std::allocator_arg_t, Stack&& stack, Function&& function, Arguments&&... arguments)
      : fiber(launch::post, std::allocator_arg, stack, std::forward<Function>(function),
              std::forward<Arguments>(arguments)...) {}
  /// Starts a fiber that calls a copy of `function` with copies of `arguments`. Throws Error if the system
  /// gives no more memory for stacks.
  template <detail::StackAllocator Stack, typename Function, typename... Arguments>
  fiber(launch policy, std::allocator_arg_t, Stack&& stack, Function&& function, Arguments&&... arguments)
      : thread_(detail::start(detail::shared_call(detail::bind_once(std::forward<Function>(function),
                                                                    std::forward<Arguments>(arguments)...)),
                              policy, stack.size())) {}
  /// Terminates the process if it is still joinable.
  ~fiber() {
    if (joinable()) std::terminate();
  }
  fiber(const fiber&) = delete;
  fiber& operator=(const fiber&) = delete;
  fiber(fiber&& other) noexcept { swap(other); }
  fiber& operator=(fiber&& other) noexcept {
    if (joinable()) std::terminate();
    swap(other);
    return *this;
  }

  void swap(fiber& other) noexcept { std::swap(thread_, other.thread_); }
  friend void swap(fiber& a, fiber& b) noexcept { a.swap(b); }
  friend bool operator<(const fiber& a, const fiber& b) noexcept { return a.get_id() < b.get_id(); }

  id get_id() const noexcept { return thread_ ? id(thread_.id()) : id(); }
  bool joinable() const noexcept { return static_cast<bool>(thread_); }
  /// Waits until the fiber has ended. Throws fiber_error: invalid_argument if it is not joinable,
  /// resource_deadlock_would_occur on the fiber itself; and InterruptedError, with the fiber still joinable.
  void join();
  /// Lets it go on without this handle. It ends with the process at the latest, as every virtual thread does.
  void detach();

  /// What creel knows it as: to name it, interrupt it, ask for its state.
  const Thread& thread() const noexcept { return thread_; }
  /// The id of the calling thread, fiber or not.
  static id current_id() { return id(Thread::current().id()); }

 private:
  Thread thread_;
};

/// A pointer of which every fiber has its own; what it points to goes with the fiber.
template <typename T>
class fiber_specific_ptr {
 public:
  using element_type = T;

  fiber_specific_ptr() : fiber_specific_ptr([](T* value) { delete value; }) {}
  /// `cleanup` ends a value; nullptr leaves it.
  explicit fiber_specific_ptr(void (*cleanup)(T*))
      : value_([cleanup] { return Value(nullptr, Cleanup{cleanup}); }) {}
  fiber_specific_ptr(const fiber_specific_ptr&) = delete;
  fiber_specific_ptr& operator=(const fiber_specific_ptr&) = delete;

  T* get() const { return value_.get().get(); }
  T* operator->() const { return get(); }
  T& operator*() const { return *get(); }
  T* release() { return value_.get().release(); }
  void reset(T* value) {
    if (value != get()) value_.get().reset(value);
  }

 private:
  struct Cleanup {
    void (*function)(T*);
    void operator()(T* value) const {
      if (function != nullptr) function(value);
    }
  };
  using Value = std::unique_ptr<T, Cleanup>;

  ThreadLocal<Value> value_;
};

}  // namespace creel::fibers

template <>
struct std::hash<creel::fibers::fiber::id> {
  std::size_t operator()(const creel::fibers::fiber::id& id) const noexcept { return id.number_; }
};

namespace creel::this_fiber {

inline fibers::fiber::id get_id() { return fibers::fiber::current_id(); }
inline void yield() noexcept { Thread::yield(); }

/// Throws InterruptedError, as sleep_for() does.
template <typename Clock, typename Duration>
void sleep_until(const std::chrono::time_point<Clock, Duration>& when) {
  Thread::sleep(fibers::detail::deadline_of(when));
}
template <typename Rep, typename Period>
void sleep_for(const std::chrono::duration<Rep, Period>& duration) {
  Thread::sleep(duration);
}

}  // namespace creel::this_fiber
