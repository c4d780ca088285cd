#include "shared_condition.hpp"
#include "thread_record.hpp"

#include <creel/runtime/shared_ring.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// What is of one size for all rings; in the segment, under the ring's name.
struct SharedRingState {
  SharedLockState lock;
  SharedConditionState not_empty, not_full;
  std::atomic<std::uint64_t> elements{0};  // offset of a SharedRingElements; 0 until it is there
  std::atomic<std::uint32_t> closed{0};
  // How many elements have gone in and out, ever; each is moved by one store.
  std::atomic<std::uint64_t> put{0}, taken{0};
  // A removal in its course: see RingPlace::extract().
  std::atomic<std::uint32_t> removing{0};
  std::atomic<std::uint64_t> first{0};  // `taken` when it began
  std::atomic<std::uint64_t> gap{0};
};

struct alignas(16) SharedRingElements {
  std::uint64_t capacity, element_bytes, element_type;
};

}  // namespace

/// This process's part of a ring. Its members need the lock, unless they say otherwise.
class RingPlace final : public SharedPlace {
 public:
  RingPlace(SharedPresence& presence, const SharedMember& member, std::uint64_t offset,
            const std::string& name)
      : RingPlace(presence, member.at<SharedRingState>(offset), member, name) {}

  void look() noexcept override { lock_.look(); }  // without the lock, as the next three
  SharedPresence& presence() const noexcept { return lock_.presence(); }
  bool is_closed() const noexcept { return state_.closed.load(kRelaxed) != 0; }
  std::size_t size() const noexcept {
    const std::uint64_t taken = state_.taken.load(kRelaxed);  // first: put is never behind it
    return std::min(static_cast<std::size_t>(state_.put.load(kRelaxed) - taken), capacity());
  }
  std::size_t capacity() const noexcept { return static_cast<std::size_t>(elements_.capacity); }
  std::size_t element_bytes() const noexcept { return static_cast<std::size_t>(elements_.element_bytes); }

  void lock(std::uintptr_t stack_pointer) noexcept;
  void unlock() { lock_.unlock(); }
  std::byte* at(std::uint64_t position) const noexcept {
    return bytes_ + position % elements_.capacity * elements_.element_bytes;
  }
  template <typename Ready>
  bool await(SharedCondition& condition, Ready ready, Deadline deadline);
  bool append(const void* element, Deadline deadline);
  bool take(void* element, Deadline deadline);
  void visit(FunctionRef<bool(const void*)> visitor) const;
  std::size_t extract(FunctionRef<bool(const void*)> matches, std::size_t limit);
  void close();

 private:
  RingPlace(SharedPresence& presence, SharedRingState& state, const SharedMember& member,
            const std::string& name)
      : state_(state),
        elements_(member.at<SharedRingElements>(state.elements.load(std::memory_order_acquire))),
        bytes_(reinterpret_cast<std::byte*>(&elements_ + 1)),
        lock_(presence, state.lock, kSharedRingType, name),
        not_empty_(lock_, state.not_empty, &state, kSharedRingType, name + ", empty", WaitKind::Parking),
        not_full_(lock_, state.not_full, &state, kSharedRingType, name + ", full", WaitKind::Parking) {}
  void end_doubt() noexcept;
  void step_removal(bool keep) noexcept;
  void finish_removal() noexcept;

  SharedRingState& state_;
  SharedRingElements& elements_;
  std::byte* const bytes_;
  SharedLock lock_;
  SharedCondition not_empty_, not_full_;
};

void RingPlace::lock(std::uintptr_t stack_pointer) noexcept {
  lock_.lock(stack_pointer, Deadline::never(), Interruptible::No);
  if (lock_.in_doubt()) [[unlikely]]
    end_doubt();
}

void RingPlace::end_doubt() noexcept {
  if (state_.removing.load(kRelaxed) != 0) finish_removal();
  lock_.end_doubt();
}

template <typename Ready>
bool RingPlace::await(SharedCondition& condition, Ready ready, Deadline deadline) {
  while (!ready()) {
    if (deadline.expired()) return false;
    const WaitOutcome outcome = condition.wait(deadline);
    if (lock_.in_doubt()) [[unlikely]]
      end_doubt();
    if (outcome == WaitOutcome::Interrupted)
      throw InterruptedError(std::string("interrupted while waiting on creel::SharedRing \"") + lock_.name() +
                             "\"");
    if (outcome == WaitOutcome::TimedOut) return ready();
  }
  return true;
}

bool RingPlace::append(const void* element, Deadline deadline) {
  if (!await(
          not_full_, [this] { return size() < capacity() || is_closed(); }, deadline))
    return false;
  if (is_closed()) return false;
  const std::uint64_t position = state_.put.load(kRelaxed);
  std::memcpy(at(position), element, element_bytes());
  state_.put.store(position + 1, std::memory_order_release);  // after the bytes, in case we die
  not_empty_.notify_one();
  return true;
}

bool RingPlace::take(void* element, Deadline deadline) {
  if (!await(
          not_empty_, [this] { return size() > 0 || is_closed(); }, deadline) ||
      size() == 0)
    return false;
  const std::uint64_t position = state_.taken.load(kRelaxed);
  std::memcpy(element, at(position), element_bytes());
  state_.taken.store(position + 1, std::memory_order_release);
  not_full_.notify_one();
  return true;
}

void RingPlace::visit(FunctionRef<bool(const void*)> visitor) const {
  const std::uint64_t end = state_.put.load(kRelaxed);
  for (std::uint64_t i = state_.taken.load(kRelaxed); i != end && visitor(at(i)); ++i) {
  }
}

// Elements that stay move towards the end, the last one first, over those that go. Meanwhile the ring holds
// what was not looked at yet, as many as the lower half of `gap` says, counted from `first`, and what lies
// behind the gap, which ends where the upper half says. One store moves an element, so that whoever comes
// after our death can close the gap: what we had not come to stays.
std::size_t RingPlace::extract(FunctionRef<bool(const void*)> matches, std::size_t limit) {
  const std::uint64_t first = state_.taken.load(kRelaxed);
  const std::size_t before = size();
  std::vector<bool> goes(before);  // all are asked before any is moved: `matches` may throw
  std::size_t going = 0;
  for (std::size_t i = 0; i < before && going < limit; ++i) {
    goes[i] = matches(at(first + i));
    going += goes[i] ? 1 : 0;
  }
  if (going == 0) return 0;
  state_.first.store(first, kRelaxed);
  state_.gap.store(std::uint64_t{before} << 32 | before, kRelaxed);
  state_.removing.store(1, std::memory_order_release);
  for (std::size_t i = before; i-- > 0;) step_removal(!goes[i]);
  finish_removal();
  for (std::size_t i = 0; i < going; ++i) not_full_.notify_one();
  return going;
}

void RingPlace::step_removal(bool keep) noexcept {
  const std::uint64_t first = state_.first.load(kRelaxed);
  const std::uint64_t gap = state_.gap.load(kRelaxed);
  const std::uint64_t left = (gap & 0xffffffff) - 1;
  std::uint64_t end = gap >> 32;
  if (keep && --end != left) std::memcpy(at(first + end), at(first + left), element_bytes());
  state_.gap.store(end << 32 | left, std::memory_order_release);  // after the bytes
}

// Each step may be the last of a process; the next one goes on here.
void RingPlace::finish_removal() noexcept {
  while ((state_.gap.load(kRelaxed) & 0xffffffff) > 0) step_removal(true);
  state_.taken.store(state_.first.load(kRelaxed) + (state_.gap.load(kRelaxed) >> 32),
                     std::memory_order_release);
  state_.removing.store(0, std::memory_order_release);
}

void RingPlace::close() {
  state_.closed.store(1, kRelaxed);
  not_empty_.notify_all();
  not_full_.notify_all();
}

namespace {

class RingGuard {
 public:
  RingGuard(RingPlace& place, std::uintptr_t stack_pointer) noexcept : place_(place) {
    place_.lock(stack_pointer);
  }
  ~RingGuard() { place_.unlock(); }
  RingGuard(const RingGuard&) = delete;
  RingGuard& operator=(const RingGuard&) = delete;

 private:
  RingPlace& place_;
};

// Several processes may come here at once: one makes the elements, and all check what it made.
std::uint64_t open_ring(SharedSegment& segment, std::string_view name, const SharedRingElements& wanted) {
  auto& state = segment.find_or_construct<SharedRingState>(name);
  std::uint64_t there = state.elements.load(std::memory_order_acquire);
  if (there == 0) {
    auto* made = static_cast<SharedRingElements*>(
        segment.allocate(sizeof(SharedRingElements) + wanted.capacity * wanted.element_bytes));
    *made = wanted;
    const std::uint64_t mine = segment.to_offset(made);
    if (state.elements.compare_exchange_strong(there, mine, std::memory_order_acq_rel)) {
      there = mine;
    } else {
      segment.deallocate(made);
    }
  }
  const auto& found = *static_cast<const SharedRingElements*>(segment.from_offset(there));
  const std::string ring =
      "shared segment \"" + segment.name() + "\": SharedRing \"" + std::string(name) + "\"";
  if (found.element_bytes != wanted.element_bytes || found.element_type != wanted.element_type)
    throw Error(ring + " is of another type of elements");
  if (found.capacity != wanted.capacity) {
    throw Error(ring + " has capacity " + std::to_string(found.capacity) + ", not " +
                std::to_string(wanted.capacity));
  }
  return segment.to_offset(&state);
}

SharedRingElements elements_of(std::size_t capacity, std::size_t element_bytes, std::uint64_t type) {
  const std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
  if (capacity == 0 || capacity > most) {
    throw Error("the capacity of a SharedRing is " + std::to_string(capacity) + "; it must be 1 to " +
                std::to_string(most));
  }
  return {capacity, element_bytes, type};
}

}  // namespace

struct SharedRingCore::State {
  SharedHandle<RingPlace> handle;
};

SharedRingCore::SharedRingCore(SharedSegment& segment, std::string_view name, std::size_t capacity,
                               std::size_t element_bytes, const char* element_type)
    : state_(new State{SharedHandle<RingPlace>(
          segment,
          open_ring(segment, name, elements_of(capacity, element_bytes, SharedSegment::hash(element_type))),
          std::string(name))}) {}

SharedRingCore::~SharedRingCore() = default;

bool SharedRingCore::destroy(SharedSegment& segment, std::string_view name) {
  auto* state = segment.find<SharedRingState>(name);
  if (state == nullptr) return false;
  void* const elements = segment.from_offset(state->elements.load(std::memory_order_acquire));
  if (!segment.destroy<SharedRingState>(name)) return false;
  segment.deallocate(elements);
  return true;
}

bool SharedRingCore::offer(const void* element, Deadline deadline) {
  RingPlace& place = state_->handle.place();
  const RingGuard guard{place, caller_stack_pointer()};
  return place.append(element, deadline);
}

bool SharedRingCore::poll(void* element, Deadline deadline) {
  RingPlace& place = state_->handle.place();
  const RingGuard guard{place, caller_stack_pointer()};
  return place.take(element, deadline);
}

void SharedRingCore::close() {
  RingPlace& place = state_->handle.place();
  const RingGuard guard{place, caller_stack_pointer()};
  place.close();
}

void SharedRingCore::visit(FunctionRef<bool(const void*)> visitor) const {
  RingPlace& place = state_->handle.place();
  const RingGuard guard{place, caller_stack_pointer()};
  place.visit(visitor);
}

std::size_t SharedRingCore::extract(FunctionRef<bool(const void*)> matches, std::size_t limit) {
  RingPlace& place = state_->handle.place();
  const RingGuard guard{place, caller_stack_pointer()};
  return place.extract(matches, limit);
}

bool SharedRingCore::is_closed() const noexcept { return state_->handle.place().is_closed(); }
std::size_t SharedRingCore::size() const noexcept { return state_->handle.place().size(); }
std::size_t SharedRingCore::capacity() const noexcept { return state_->handle.place().capacity(); }
const std::string& SharedRingCore::name() const noexcept { return state_->handle.name(); }

}  // namespace creel::detail
