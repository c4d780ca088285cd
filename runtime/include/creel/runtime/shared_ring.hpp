#pragma once

#include <creel/runtime/blocking_queue.hpp>
#include <creel/runtime/error.hpp>
#include <creel/runtime/shared_segment.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>

namespace creel {

namespace detail {

/// A SharedRing of elements of which only the size is known.
class SharedRingCore {
 public:
  SharedRingCore(SharedSegment& segment, std::string_view name, std::size_t capacity,
                 std::size_t element_bytes, const char* element_type);
  ~SharedRingCore();
  static bool destroy(SharedSegment& segment, std::string_view name);

  bool offer(const void* element, Deadline deadline);
  bool poll(void* element, Deadline deadline);
  void close();
  bool is_closed() const noexcept;
  std::size_t size() const noexcept;
  std::size_t capacity() const noexcept;
  const std::string& name() const noexcept;
  void visit(FunctionRef<bool(const void*)> visitor) const;
  std::size_t extract(FunctionRef<bool(const void*)> matches, std::size_t limit);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace detail

/// A BlockingQueue between processes: a bounded ring in a SharedSegment, for as many producers and consumers
/// as like, that no process's death can block or break.
///
///     auto segment = creel::SharedSegment::open_or_create("frames", 64 << 20);
///     creel::SharedRing<Frame> frames{segment, "decoded", 256};
///     producer: frames.put(frame); … frames.close();
///     consumer, another process: for (Frame& frame : frames) show(frame);      // ends when closed and empty
///
/// Elements are copied as bytes: no pointers in them. An element goes in, and out, by one store after its
/// bytes were copied. A process that dies before that store has put nothing, and has left what it was about
/// to take for the others; one that dies after it has put, or has taken the element with it. There is nothing
/// to repair, and nobody has to be told.
///
/// All calls are BlockingQueue's, with its contract: they wait in dumps as `creel::SharedRing "decoded,
/// empty"`, honour Deadline and interrupt, and free the carrier of a virtual thread. They are made under one
/// lock, which a process that is stopped within one (SIGSTOP) keeps. Functions given to for_each and
/// remove_if must not use the queue. close() is for all processes and for good. Not fair between processes,
/// see SharedMonitor.
///
/// The object is this process's access to the ring; after fork() the child uses it as another process.
/// Destroy it only when no thread is in one of its calls.
///
/// Memory effects: what a thread did before putting an element happens before what another, in whatever
/// process, does after taking or seeing it.
template <typename T>
class SharedRing final : public BlockingQueue<T> {
  static_assert(std::is_trivially_copyable_v<T>, "elements are copied as bytes");
  static_assert(!std::is_pointer_v<T>, "addresses differ between processes");
  static_assert(alignof(T) <= 16, "blocks of a SharedSegment are aligned to 16");

 public:
  /// The ring of that name, made if there is none. Throws Error if `capacity` is 0, if one is there with
  /// another capacity or type of elements, and as SharedMonitor's constructor.
  SharedRing(SharedSegment& segment, std::string_view name, std::size_t capacity)
      : core_(segment, name, capacity, sizeof(T), typeid(T).name()) {}
  /// Takes the ring out of the segment; false if there is none. Nobody may be using it, nor have an object
  /// for it.
  static bool destroy(SharedSegment& segment, std::string_view name) {
    return detail::SharedRingCore::destroy(segment, name);
  }

  using BlockingQueue<T>::offer;
  using BlockingQueue<T>::poll;

  void put(T element) override {
    if (!core_.offer(&element, Deadline::never()))
      throw RejectedError("put() on the closed SharedRing \"" + name() + "\"");
  }
  bool offer(T&& element, Deadline deadline) override { return core_.offer(&element, deadline); }
  std::optional<T> poll(Deadline deadline) override {
    std::array<std::byte, sizeof(T)> bytes;
    if (!core_.poll(bytes.data(), deadline)) return std::nullopt;
    return std::bit_cast<T>(bytes);
  }

  void close() noexcept override { core_.close(); }
  bool is_closed() const noexcept override { return core_.is_closed(); }
  std::size_t size() const noexcept override { return core_.size(); }
  std::size_t capacity() const noexcept override { return core_.capacity(); }
  const std::string& name() const noexcept { return core_.name(); }

 protected:
  using typename BlockingQueue<T>::Test;

  void visit(Test visitor) const override {
    core_.visit([&](const void* element) { return visitor(*static_cast<const T*>(element)); });
  }
  /// Removes as one step for all who look, but for a process that dies in it: what it had not come to stays.
  std::size_t extract(Test matches, std::size_t limit) override {
    return core_.extract([&](const void* element) { return matches(*static_cast<const T*>(element)); },
                         limit);
  }

 private:
  detail::SharedRingCore core_;
};

}  // namespace creel
