#pragma once

#include <creel/runtime/error.hpp>

#include <array>
#include <atomic>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace creel {
namespace detail {

class TaskScopeCore;
class ThreadRecord;

/// One binding of a scoped value, on the stack of the thread that made it: a node of an immutable list. Dumps
/// read it while its thread runs, through safe_read(): the two stamps tell a node that is there from what
/// lies in its place afterwards.
struct ScopedBinding {
  static constexpr std::size_t kTextBytes = 80;

  std::atomic<std::uint64_t> stamp{0};       // never used twice; 0 while it is being made
  std::atomic<std::uint64_t> anti_stamp{0};  // ~stamp
  const ScopedBinding* outer = nullptr;
  const void* key = nullptr;
  const void* value = nullptr;
  const char* name = nullptr;  // the ScopedValue's
  char text[kTextBytes] = {};  // the value, NUL-terminated
};

/// Writes text for dumps: cut to fit, without control characters.
void render_text(char (&to)[ScopedBinding::kTextBytes], std::string_view text, char quote) noexcept;
void render_type(char (&to)[ScopedBinding::kTextBytes], const std::type_info& type) noexcept;

template <typename T>
concept HasToString = requires(const T& value) {
  { to_string(value) } -> std::convertible_to<std::string_view>;
};

template <typename T>
void render_value(char (&to)[ScopedBinding::kTextBytes], const T& value) noexcept {
  if constexpr (std::same_as<T, bool>) {
    render_text(to, value ? "true" : "false", 0);
  } else if constexpr (std::same_as<T, char>) {
    render_text(to, std::string_view(&value, 1), '\'');
  } else if constexpr (std::is_pointer_v<T> && std::convertible_to<T, std::string_view>) {
    if (value != nullptr) {
      render_text(to, value, '"');
    } else {
      render_text(to, "null", 0);
    }
  } else if constexpr (std::convertible_to<const T&, std::string_view>) {
    render_text(to, value, '"');
  } else if constexpr (requires(char* at) { std::to_chars(at, at, value); }) {
    std::array<char, 40> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    render_text(to, std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())), 0);
  } else if constexpr (HasToString<T>) {
    try {
      render_text(to, to_string(value), 0);
    } catch (...) {
      render_type(to, typeid(T));
    }
  } else {
    render_type(to, typeid(T));
  }
}

const void* find_scoped_value(const void* key) noexcept;
[[noreturn]] void throw_unbound(const std::string& name);

/// Makes bindings the calling thread's, innermost last, until its end.
class BindingScope {
 public:
  BindingScope(ScopedBinding* bindings, std::size_t count);
  ~BindingScope();
  BindingScope(const BindingScope&) = delete;
  BindingScope& operator=(const BindingScope&) = delete;

 private:
  ThreadRecord& record_;
  ScopedBinding* const bindings_;
  const std::size_t count_;
  const ScopedBinding* const before_;
  TaskScopeCore* const scope_before_;
};

}  // namespace detail

template <typename T>
class ScopedValue;

/// Values for ScopedValues, to be bound for one call after another: java.lang.ScopedValue.Carrier. Made by
/// where(). It may be called again, and by several threads at once.
template <typename... T>
class ScopedBindings {
 public:
  explicit ScopedBindings(std::tuple<const ScopedValue<T>*...> keys, std::tuple<T...> values)
      : keys_(keys), values_(std::move(values)) {}

  /// These bindings and one more; of two for one ScopedValue the later one counts.
  template <typename U>
  ScopedBindings<T..., U> where(const ScopedValue<U>& key, std::type_identity_t<U> value) const& {
    return ScopedBindings(*this).where_moved(key, std::move(value));
  }
  template <typename U>
  ScopedBindings<T..., U> where(const ScopedValue<U>& key, std::type_identity_t<U> value) && {
    return where_moved(key, std::move(value));
  }

  /// Calls `function()` with the values bound on the calling thread, and returns what it returns. The values
  /// stay where they are: this object must live until it returns, as a temporary does.
  template <std::invocable Function>
  std::invoke_result_t<Function> call(Function&& function) const {
    std::array<detail::ScopedBinding, sizeof...(T)> bindings;
    fill(bindings, std::index_sequence_for<T...>{});
    const detail::BindingScope scope{bindings.data(), bindings.size()};
    return std::invoke(std::forward<Function>(function));
  }
  /// call() of a function whose result nobody wants.
  template <std::invocable Function>
  void run(Function&& function) const {
    static_cast<void>(call(std::forward<Function>(function)));
  }

 private:
  template <typename... U>
  friend class ScopedBindings;

  template <typename U>
  ScopedBindings<T..., U> where_moved(const ScopedValue<U>& key, U&& value) {
    return ScopedBindings<T..., U>(std::tuple_cat(keys_, std::tuple(&key)),
                                   std::tuple_cat(std::move(values_), std::tuple<U>(std::move(value))));
  }
  template <std::size_t... I>
  void fill(std::array<detail::ScopedBinding, sizeof...(T)>& bindings, std::index_sequence<I...>) const {
    const auto fill_one = [](detail::ScopedBinding& binding, const auto& key, const auto& value) {
      binding.key = &key;
      binding.value = &value;
      binding.name = key.name().c_str();
      detail::render_value(binding.text, value);
    };
    (fill_one(bindings[I], *std::get<I>(keys_), std::get<I>(values_)), ...);
  }

  std::tuple<const ScopedValue<T>*...> keys_;
  std::tuple<T...> values_;
};

/// A value that all code below a call sees without being passed it: java.lang.ScopedValue. Bound for the time
/// of one call on one thread, never set; inherited by the threads of a TaskScope that is opened inside.
///
///     inline const creel::ScopedValue<std::string> user{"user"};
///     …
///     creel::where(user, "alice").where(request_id, 7).run([&] { handle(connection); });
///     … anywhere below:  log::info("order", {{"by", user.get()}});
///
/// Dumps list the values bound on each thread, as they are when they are bound: numbers, bool and text, else
/// what a to_string() found by argument-dependent lookup says, else the type. Do not bind secrets as text.
///
/// Costs: binding renders the value (tens of ns) and allocates nothing; get() passes the bindings made since.
/// Memory effects: what a thread did before TaskScope::fork() happens before the forked thread's get(). The
/// values are shared between those threads: make them immutable, or guard them. It must live as long as it is
/// bound; usually it is a global.
template <typename T>
class ScopedValue {
 public:
  static_assert(std::is_object_v<T> && !std::is_const_v<T>);

  /// `name` stands in dumps.
  explicit ScopedValue(std::string name) : name_(std::move(name)) {}
  ScopedValue(const ScopedValue&) = delete;
  ScopedValue& operator=(const ScopedValue&) = delete;

  const std::string& name() const noexcept { return name_; }

  /// The innermost value on the calling thread; good until the end of the call it is bound for. Throws Error
  /// that names this value if there is none.
  const T& get() const {
    if (const T* value = find()) return *value;
    detail::throw_unbound(name_);
  }
  /// The value, or `other` if it is not bound.
  T or_else(T other) const {
    const T* value = find();
    return value != nullptr ? *value : std::move(other);
  }
  /// The value; throws what `make_exception()` returns if it is not bound.
  template <std::invocable MakeException>
  const T& or_else_throw(MakeException&& make_exception) const {
    if (const T* value = find()) return *value;
    throw std::invoke(std::forward<MakeException>(make_exception));
  }
  bool is_bound() const noexcept { return find() != nullptr; }

 private:
  const T* find() const noexcept { return static_cast<const T*>(detail::find_scoped_value(this)); }

  const std::string name_;
};

/// `value` for `key`, to be bound by call() or run(): ScopedValue.where.
template <typename T>
ScopedBindings<T> where(const ScopedValue<T>& key, std::type_identity_t<T> value) {
  return ScopedBindings<T>(std::tuple(&key), std::tuple<T>(std::move(value)));
}

}  // namespace creel
