#pragma once

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace creel {

namespace detail {
class FutureCore;
}

/// Work to be done once: a move-only `void()`. Callables of up to three pointers lie inside, without an
/// allocation. (std::function must be copyable and would put every shared_ptr on the heap.)
class Task {
 public:
  Task() noexcept = default;

  template <typename Function>
  requires(!std::same_as<std::remove_cvref_t<Function>, Task> && std::invocable<std::decay_t<Function>&>)
      Task(Function&& function) {  // NOLINT: implicit on purpose
    using Stored = std::decay_t<Function>;
    if constexpr (fits<Stored>()) {
      ::new (static_cast<void*>(storage_)) Stored(std::forward<Function>(function));
      operations_ = &kInside<Stored>;
    } else {
      ::new (static_cast<void*>(storage_)) Stored*(new Stored(std::forward<Function>(function)));
      operations_ = &kOutside<Stored>;
    }
  }

  Task(Task&& other) noexcept { take(other); }
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~Task() { reset(); }

  explicit operator bool() const noexcept { return operations_ != nullptr; }
  /// Runs it; only if there is something to run.
  void operator()() { operations_->call(storage_); }

  /// Whether running it would do nothing, since the future of this submitted task has ended already.
  bool is_cancelled() const noexcept;
  /// For the runtime's own parts: what it completes, if it was submitted.
  const detail::FutureCore* future() const noexcept {
    return operations_ != nullptr && operations_->future != nullptr ? operations_->future(storage_) : nullptr;
  }

  void reset() noexcept {
    if (operations_ != nullptr) std::exchange(operations_, nullptr)->destroy(storage_);
  }

 private:
  struct Operations {
    void (*call)(void*);
    void (*move)(void* from, void* to) noexcept;  // leaves nothing in `from`
    void (*destroy)(void*) noexcept;
    const detail::FutureCore* (*future)(const void*) noexcept;  // null: it has none
  };
  static constexpr std::size_t kInsideBytes = 3 * sizeof(void*);

  template <typename Stored>
  static constexpr bool fits() {
    return sizeof(Stored) <= kInsideBytes && alignof(Stored) <= alignof(void*) &&
           std::is_nothrow_move_constructible_v<Stored>;
  }

  template <typename Stored>
  static const Stored& stored_in(const void* at) noexcept {
    if constexpr (fits<Stored>()) {
      return *static_cast<const Stored*>(at);
    } else {
      return **static_cast<const Stored* const*>(at);
    }
  }
  template <typename Stored>
  static constexpr auto future_of() noexcept -> const detail::FutureCore* (*)(const void*) noexcept {
    if constexpr (requires(const Stored& stored) {
                    { stored.future() } -> std::convertible_to<const detail::FutureCore*>;
                  }) {
      return
          [](const void* at) noexcept -> const detail::FutureCore* { return stored_in<Stored>(at).future(); };
    } else {
      return nullptr;
    }
  }

  template <typename Stored>
  static constexpr Operations kInside{[](void* at) { std::invoke(*static_cast<Stored*>(at)); },
                                      [](void* from, void* to) noexcept {
                                        ::new (to) Stored(std::move(*static_cast<Stored*>(from)));
                                        std::destroy_at(static_cast<Stored*>(from));
                                      },
                                      [](void* at) noexcept { std::destroy_at(static_cast<Stored*>(at)); },
                                      future_of<Stored>()};

  template <typename Stored>
  static constexpr Operations kOutside{
      [](void* at) { std::invoke(**static_cast<Stored**>(at)); },
      [](void* from, void* to) noexcept { ::new (to) Stored*(*static_cast<Stored**>(from)); },
      [](void* at) noexcept { delete *static_cast<Stored**>(at); }, future_of<Stored>()};

  void take(Task& other) noexcept {
    operations_ = std::exchange(other.operations_, nullptr);
    if (operations_ != nullptr) operations_->move(other.storage_, storage_);
  }

  const Operations* operations_ = nullptr;
  alignas(void*) std::byte storage_[kInsideBytes];
};

}  // namespace creel
