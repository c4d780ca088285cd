#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace creel {
namespace detail {

/// What a thread keeps beside each of its values of one ThreadLocal: whose it is, and how to end and to
/// inherit it. Lives as long as the variable or any value of it.
class ThreadLocalKey {
 public:
  explicit ThreadLocalKey(bool is_inherited) noexcept;
  virtual ~ThreadLocalKey() = default;
  ThreadLocalKey(const ThreadLocalKey&) = delete;
  ThreadLocalKey& operator=(const ThreadLocalKey&) = delete;

  virtual void destroy(void* value) const noexcept = 0;
  /// The value of a new thread whose parent has `value`.
  virtual void* inherit(const void* value) const = 0;

  const std::uint64_t id;  // never used twice, never 0; spread, so that it is its own hash
  const bool inherited;
  std::atomic<bool> is_dead{false};  // the variable is gone; its values go when their threads come by
};

/// The calling thread's value; nullptr if it has none.
void* find_thread_local(std::uint64_t key) noexcept;
/// Sets it, takes it over, and destroys the one before.
void store_thread_local(const std::shared_ptr<const ThreadLocalKey>& key, void* value);
void remove_thread_local(std::uint64_t key) noexcept;

template <typename T>
class TypedThreadLocalKey final : public ThreadLocalKey {
 public:
  using ChildValue = std::function<T(const T&)>;

  TypedThreadLocalKey() noexcept : ThreadLocalKey(false) {}
  explicit TypedThreadLocalKey(ChildValue child_value)
      : ThreadLocalKey(true), child_value_(std::move(child_value)) {}

  void destroy(void* value) const noexcept override { delete static_cast<T*>(value); }
  void* inherit(const void* value) const override {
    return new T(child_value_(*static_cast<const T*>(value)));
  }

 private:
  ChildValue child_value_;
};

}  // namespace detail

/// A variable of which every thread, platform or virtual, has its own value; java.lang.ThreadLocal. C++'s
/// thread_local belongs to the operating system's thread: on a virtual thread it changes with the carrier.
///
///     const creel::ThreadLocal<std::mt19937> random{[] { return std::mt19937{seed()}; }};
///     …
///     const auto draw = random.get()();  // on any thread, its own generator
///
/// The initial value is made by the first get() of a thread, and again after remove(). The values of a thread
/// are destroyed on it when it ends, in no particular order; a destructor may use other ThreadLocals. Only
/// the first thread's, main's, are left to the end of the process. A ThreadLocal may be destroyed before its
/// threads: its value on the calling thread goes with it, those on other threads at the latest when these
/// end.
///
/// All members may be called from any thread at any time, the supplier therefore from several at once.
/// References are the calling thread's own: good until its next set() or remove() of this variable, or its
/// end; another thread may use one only while that is not yet.
template <typename T>
class ThreadLocal {
 public:
  static_assert(std::is_object_v<T> && !std::is_const_v<T>);
  using Supplier = std::function<T()>;

  /// Threads begin with a value-initialized T.
  ThreadLocal() requires std::default_initializable<T> : ThreadLocal([] { return T(); }) {}
  /// Threads begin with what `initial_value` returns on them. What it throws, get() throws; it is called
  /// again then.
  explicit ThreadLocal(Supplier initial_value)
      : ThreadLocal(std::move(initial_value), std::make_shared<Key>()) {}
  ~ThreadLocal() {
    key_->is_dead.store(true, std::memory_order_relaxed);
    detail::remove_thread_local(key_->id);
  }
  ThreadLocal(const ThreadLocal&) = delete;
  ThreadLocal& operator=(const ThreadLocal&) = delete;

  /// The calling thread's value.
  T& get() const {
    if (void* value = detail::find_thread_local(key_->id)) [[likely]]
      return *static_cast<T*>(value);
    return store(initial_value_());
  }
  /// Replaces the calling thread's value.
  void set(T value) const { store(std::move(value)); }
  /// Destroys the calling thread's value; the next get() makes a new initial one.
  void remove() const noexcept { detail::remove_thread_local(key_->id); }

 protected:
  using Key = detail::TypedThreadLocalKey<T>;
  ThreadLocal(Supplier initial_value, std::shared_ptr<Key> key)
      : initial_value_(std::move(initial_value)), key_(std::move(key)) {}

 private:
  T& store(T&& value) const {
    auto stored = std::make_unique<T>(std::move(value));
    detail::store_thread_local(key_, stored.get());
    return *stored.release();
  }

  Supplier initial_value_;
  std::shared_ptr<Key> key_;
};

/// A ThreadLocal whose value a thread gets from the one that makes it; java.lang.InheritableThreadLocal.
///
///     const creel::InheritableThreadLocal<std::string> request;
///     request.set("GET /covers/7");
///     creel::Thread::of_virtual().start([&] { log::info("child", {{"for", request.get()}}); }).join();
///
/// The value is copied, or mapped by `child_value`, on the parent, while Builder::start(), a factory or
/// unstarted() makes the thread; what that throws, they throw. A parent without a value passes none on. See
/// Thread::Builder::inherit_thread_locals. Workers of a pool are made when the pool needs them, by whatever
/// thread then submits: for values that go with a task, use ScopedValue and TaskScope.
template <typename T>
class InheritableThreadLocal : public ThreadLocal<T> {
 public:
  using typename ThreadLocal<T>::Supplier;
  using ChildValue = std::function<T(const T&)>;

  InheritableThreadLocal() requires std::default_initializable<T> && std::copy_constructible<T>
      : InheritableThreadLocal([] { return T(); }) {}
  explicit InheritableThreadLocal(Supplier initial_value) requires std::copy_constructible<T>
      : InheritableThreadLocal(std::move(initial_value), [](const T& parent) { return parent; }) {}
  InheritableThreadLocal(Supplier initial_value, ChildValue child_value)
      : ThreadLocal<T>(std::move(initial_value),
                       std::make_shared<typename ThreadLocal<T>::Key>(std::move(child_value))) {}
};

}  // namespace creel
