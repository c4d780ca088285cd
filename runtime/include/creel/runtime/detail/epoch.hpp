#pragma once

#include <cstdint>

namespace creel::detail {

/// When memory that readers may still look at can be freed. One domain for the process.
///
/// A reader is counted, on the cache line of its processor, in the epoch in which it came: two atomic
/// additions a read, and no registration, so that a reader may park, and go on on another carrier. What a
/// writer has made unreachable it marks with the epoch of then; two epochs later nobody can see it. The epoch
/// goes on when nobody is left of the one before.
class ReadGuard {
 public:
  ReadGuard() noexcept;
  ~ReadGuard();
  ReadGuard(const ReadGuard&) = delete;
  ReadGuard& operator=(const ReadGuard&) = delete;

 private:
  void* readers_;
};

/// The mark for what is unreachable as of now.
std::uint64_t retire_epoch() noexcept;
/// Lets the epoch go on if it can; whether what was marked `retired` may be freed.
bool may_free(std::uint64_t retired) noexcept;

}  // namespace creel::detail
