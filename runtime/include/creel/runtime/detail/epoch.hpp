#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace creel::detail {

/// How soon what nobody can reach any more is freed, which readers pay for.
enum class Freeing : bool {
  /// As soon as nobody reads: for what has destructors, whose moment programs see. A reader pays two atomic
  /// additions on a cache line of its processor; a writer looks at these lines.
  AtOnce,
  /// Some hundreds at a time: for plain memory. A reader pays two plain additions; a writer makes the kernel
  /// fence all processors that run this process (membarrier), about a microsecond, for the whole batch.
  Batched,
};

/// When memory that readers may still look at can be freed: one domain of each kind for the process.
///
/// A reader is counted in the epoch in which it came. What a writer has made unreachable it marks with the
/// epoch of then; two epochs later nobody can see it. The epoch goes on when nobody is left of the one
/// before. A reader may park, and go on on another carrier: it is counted where it came in, and what it came
/// in by outlives its thread.
template <Freeing>
struct EpochDomain {
  struct Reading {
    void* counter;
    std::size_t parity;
  };
  static Reading enter() noexcept;
  static void leave(Reading reading) noexcept;

  /// The mark for what is unreachable as of now.
  static std::uint64_t retire() noexcept;
  /// Lets the epoch go on if it can; whether what was marked `retired` may be freed.
  static bool may_free(std::uint64_t retired) noexcept;
};

// The two count their readers each in a way of its own.
template <>
EpochDomain<Freeing::AtOnce>::Reading EpochDomain<Freeing::AtOnce>::enter() noexcept;
template <>
EpochDomain<Freeing::Batched>::Reading EpochDomain<Freeing::Batched>::enter() noexcept;
template <>
void EpochDomain<Freeing::AtOnce>::leave(Reading reading) noexcept;
template <>
void EpochDomain<Freeing::Batched>::leave(Reading reading) noexcept;
extern template struct EpochDomain<Freeing::AtOnce>;
extern template struct EpochDomain<Freeing::Batched>;

/// Nothing that can be reached at its beginning is freed before its end.
template <Freeing kFreeing>
class ReadGuard {
 public:
  ReadGuard() noexcept : reading_(EpochDomain<kFreeing>::enter()) {}
  ~ReadGuard() { EpochDomain<kFreeing>::leave(reading_); }
  ReadGuard(const ReadGuard&) = delete;
  ReadGuard& operator=(const ReadGuard&) = delete;

 private:
  typename EpochDomain<kFreeing>::Reading reading_;
};

/// A list of what was made unreachable and may still be read; its owner guards it. An Item has a member
/// `next_retired` and a static destroy(Item*).
template <typename Item, Freeing kFreeing>
class RetireList {
  using Domain = EpochDomain<kFreeing>;

 public:
  struct Chain {
    Item* head = nullptr;
    Item* tail = nullptr;
  };

  RetireList() noexcept = default;
  ~RetireList() {
    free(pending_);
    free(waiting_);
  }
  RetireList(const RetireList&) = delete;
  RetireList& operator=(const RetireList&) = delete;

  void add(Item* item, std::size_t weight = 1) noexcept {
    item->next_retired = pending_.head;
    pending_.head = item;
    if (pending_.tail == nullptr) pending_.tail = item;
    weight_ += weight;
  }
  /// What may be freed now. Looks only when `batch` has come in weight since it last looked in vain.
  Chain harvest(std::size_t batch) noexcept {
    return weight_ == 0 || weight_ < looked_at_ + batch ? Chain() : look();
  }
  static void free(Chain chain) noexcept {
    for (Item* item = chain.head; item != nullptr;) Item::destroy(std::exchange(item, item->next_retired));
  }

 private:
  Chain look() noexcept {
    Chain free;
    if (waiting_.head != nullptr && Domain::may_free(epoch_)) free = std::exchange(waiting_, {});
    if (waiting_.head == nullptr) {
      epoch_ = Domain::retire();
      waiting_ = std::exchange(pending_, {});
      weight_ = 0;
      if (Domain::may_free(epoch_)) {
        waiting_.tail->next_retired = free.head;
        if (free.tail == nullptr) free.tail = waiting_.tail;
        free.head = waiting_.head;
        waiting_ = {};
      }
    }
    looked_at_ = weight_;
    return free;
  }

  Chain pending_;  // retired since the last look that found something to do
  Chain waiting_;  // retired by `epoch_`
  std::uint64_t epoch_ = 0;
  std::size_t weight_ = 0;  // of pending_
  std::size_t looked_at_ = 0;
};

}  // namespace creel::detail
