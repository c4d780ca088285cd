#include "thread_record.hpp"
#include "waker_set_reader.hpp"

#include <utility>

namespace creel {

void WakerSet::assign(std::span<const Thread> threads) {
  std::vector<std::uint64_t> ids;
  ids.reserve(threads.size());
  for (const Thread& thread : threads) ids.push_back(thread.id());
  assign(std::move(ids));
}

void WakerSet::assign(std::vector<std::uint64_t> ids) {
  const std::lock_guard guard{changing_};
  const std::uint64_t version = view_.version.load(std::memory_order_relaxed);
  view_.version.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(
      std::memory_order_release);  // a reader that sees what follows sees the odd version
  view_.ids.store(ids.data(), std::memory_order_relaxed);
  view_.count.store(ids.size(), std::memory_order_relaxed);
  view_.version.store(version + 2, std::memory_order_release);
  ids_.swap(ids);
}

std::optional<WakerSetReader::Members> WakerSetReader::read(const WakerSet* set) {
  struct {
    std::uint64_t version;
    const std::uint64_t* ids;
    std::uint64_t count;
  } before{}, after{};
  static_assert(sizeof before == sizeof(WakerSet::View));
  if (set == nullptr || !detail::safe_read(&set->view_, &before, sizeof before)) return std::nullopt;
  if (before.version % 2 != 0 || before.count == 0 || before.count > kMost) return std::nullopt;
  Members members{before.version, std::vector<std::uint64_t>(before.count)};
  if (!detail::safe_read(before.ids, members.ids.data(), before.count * sizeof(std::uint64_t)) ||
      !detail::safe_read(&set->view_, &after, sizeof after) || after.version != before.version) {
    return std::nullopt;
  }
  return members;
}

}  // namespace creel
