#pragma once

#include <creel/runtime/error.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace creel {

namespace detail {
class SharedMember;
class SharedRingCore;
}  // namespace detail

/// A named piece of memory that several processes of one user map, with an allocator and a directory of named
/// objects inside.
///
///     auto segment = creel::SharedSegment::open_or_create("scores", 1 << 20);
///     auto& hits = segment.find_or_construct<std::atomic<long>>("hits", 0);
///     ++hits;                                             // in every process that does the same
///
/// Its name lives until remove(), or sweep() when no process has it open any more; whoever still has it open
/// keeps the memory. It lies at another address in each process: keep offsets in it (to_offset, from_offset),
/// never pointers, references or objects with virtual functions. Objects are not destroyed with the segment.
///
/// No call takes a lock: a process that is killed within one leaves at most the blocks that it was about to
/// take or to give back out of use: one of allocate() and deallocate(), three of construct() and destroy().
/// The file is 0600; one of another user, that others may read or write, or that is a link, is refused. The
/// members may be called from any thread at any time, none of them waits. Memory effects: what a process did
/// before construct() happens before find() of that object returns it.
class SharedSegment {
 public:
  /// Makes one of at least `bytes` and takes its pages from the system at once, so that a full /dev/shm is an
  /// IoError here and no SIGBUS later. A name is 1 to 200 letters, digits, '.', '_' or '-'. Throws IoError
  /// (EEXIST) if there is one of that name.
  static SharedSegment create(std::string_view name, std::size_t bytes);
  /// nullopt if there is none. Throws IoError (EACCES, ELOOP) if it is not ours alone, Error of kind Data if
  /// it is not a segment of this layout.
  static std::optional<SharedSegment> open(std::string_view name);
  /// As many processes as like may call this at once: one creates, the others open what it made.
  static SharedSegment open_or_create(std::string_view name, std::size_t bytes);
  /// Takes the name away; false if there was none.
  static bool remove(std::string_view name);
  /// Removes the user's segments that no process has open, and returns their names.
  static std::vector<std::string> sweep();

  SharedSegment(SharedSegment&&) noexcept;
  SharedSegment& operator=(SharedSegment&&) noexcept;
  ~SharedSegment();

  const std::string& name() const noexcept;
  std::size_t size() const noexcept;
  /// Bytes that were never allocated; freed blocks are not among them.
  std::size_t untouched() const noexcept;
  /// The process that created it; it may have ended.
  pid_t creator() const noexcept;

  /// Memory for `bytes`, aligned to 16; throws Error if none is left. A freed block is used again for
  /// requests of its size class (powers of two and the steps half-way between).
  void* allocate(std::size_t bytes);
  /// The same, nullptr if none is left.
  void* try_allocate(std::size_t bytes) noexcept;
  /// Throws Error if `block` is not one that is in use. nullptr is allowed.
  void deallocate(void* block);

  /// The place of something in the segment, the same in all processes; 0 for nullptr. Throws Error for
  /// addresses outside.
  std::uint64_t to_offset(const void* address) const;
  void* from_offset(std::uint64_t offset) const;

  /// Makes an object of that name. Throws Error if there is one, or no memory, and what the constructor
  /// throws.
  template <typename T, typename... Arguments>
  T& construct(std::string_view name, Arguments&&... arguments) {
    auto [object, made] = emplace<T>(name, std::forward<Arguments>(arguments)...);
    if (!made)
      throw Error("shared segment \"" + this->name() + "\" has an object \"" + std::string(name) + "\"");
    return *object;
  }
  /// The object of that name; nullptr if there is none. Throws Error if it is of another type.
  template <typename T>
  T* find(std::string_view name) const {
    check<T>();
    return static_cast<T*>(find_object(name, type_of<T>()));
  }
  /// The object of that name, made if there is none. Processes that do so at once may each construct one; all
  /// get the same, the others are destroyed at once.
  template <typename T, typename... Arguments>
  T& find_or_construct(std::string_view name, Arguments&&... arguments) {
    if (T* object = find<T>(name)) return *object;
    return *emplace<T>(name, std::forward<Arguments>(arguments)...).first;
  }
  /// Destroys the object of that name and frees its memory; false if there is none. Nobody may be using
  /// it, or looking for it.
  template <typename T>
  bool destroy(std::string_view name) {
    check<T>();
    T* object = static_cast<T*>(withdraw(name, type_of<T>()));
    if (object == nullptr) return false;
    object->~T();
    deallocate(object);
    return true;
  }

 private:
  friend class detail::SharedMember;
  friend class detail::SharedRingCore;
  class Mapping;
  struct Type {
    std::uint64_t name_hash;
    std::uint64_t bytes;
  };
  explicit SharedSegment(std::unique_ptr<Mapping> mapping) noexcept;

  template <typename T>
  static constexpr void check() {
    static_assert(alignof(T) <= 16, "blocks of a SharedSegment are aligned to 16");
    static_assert(!std::is_polymorphic_v<T>, "a table of virtual functions lies elsewhere in each process");
    static_assert(!std::is_pointer_v<T> && !std::is_reference_v<T>, "addresses differ between processes");
  }
  template <typename T>
  static Type type_of() noexcept {
    return {hash(typeid(T).name()), sizeof(T)};
  }
  template <typename T, typename... Arguments>
  std::pair<T*, bool> emplace(std::string_view name, Arguments&&... arguments) {
    check<T>();
    void* const memory = allocate(sizeof(T));
    T* made = nullptr;
    try {
      made = ::new (memory) T(std::forward<Arguments>(arguments)...);
      void* const published = publish(name, type_of<T>(), made);
      if (published == made) return {made, true};
      made->~T();
      deallocate(memory);
      return {static_cast<T*>(published), false};
    } catch (...) {
      if (made != nullptr) made->~T();
      deallocate(memory);
      throw;
    }
  }
  static std::uint64_t hash(std::string_view text) noexcept;
  int descriptor() const noexcept;
  std::uint64_t members() const noexcept;  // offset of their table
  void* find_object(std::string_view name, Type type) const;
  void* publish(std::string_view name, Type type, void* object);
  void* withdraw(std::string_view name, Type type);

  std::unique_ptr<Mapping> mapping_;
};

}  // namespace creel
