#include "deadlock_search.hpp"
#include "wait_snapshot.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

namespace creel {
namespace detail {
namespace {

struct Edge {
  WaitSnapshot wait;
  std::uint64_t owner = 0;
};

std::ptrdiff_t index_of(std::span<const std::shared_ptr<ThreadRecord>> records, std::uint64_t id) noexcept {
  const auto found =
      std::lower_bound(records.begin(), records.end(), id,
                       [](const auto& record, std::uint64_t wanted) { return record->id < wanted; });
  return found != records.end() && (*found)->id == id ? found - records.begin() : -1;
}

}  // namespace

std::vector<std::vector<std::size_t>> find_cycles(std::span<const std::ptrdiff_t> next) {
  std::vector<std::vector<std::size_t>> cycles;
  std::vector<std::size_t> visited(next.size(), 0);  // by which walk; 0: not yet
  for (std::size_t start = 0; start < next.size(); ++start) {
    std::size_t at = start;
    while (visited[at] == 0) {
      visited[at] = start + 1;
      if (next[at] < 0) break;
      at = static_cast<std::size_t>(next[at]);
    }
    if (next[at] < 0 || visited[at] != start + 1) continue;  // ran out, or into an earlier walk
    std::vector<std::size_t>& cycle = cycles.emplace_back();
    const std::size_t first = at;
    do {
      cycle.push_back(at);
      at = static_cast<std::size_t>(next[at]);
    } while (at != first);
  }
  return cycles;
}

std::vector<Deadlock> search_deadlocks(std::span<const std::shared_ptr<ThreadRecord>> records) {
  std::vector<std::optional<Edge>> edges(records.size());
  std::vector<std::ptrdiff_t> next(records.size(), -1);
  for (std::size_t i = 0; i < records.size(); ++i) {
    const ParkSite& site = records[i]->park_site;
    if (site.owner.load(std::memory_order_relaxed) == nullptr) continue;
    const std::optional<WaitSnapshot> wait = read_wait(site);
    if (!wait || wait->owner == nullptr || wait->timed) continue;
    const std::uint64_t owner = wait->read_owner();
    if (owner == 0) continue;
    edges[i] = Edge{*wait, owner};
    next[i] = index_of(records, owner);
  }
  std::vector<Deadlock> deadlocks;
  for (const std::vector<std::size_t>& cycle : find_cycles(next)) {
    Deadlock deadlock;
    for (const std::size_t i : cycle) {
      const WaitSnapshot& wait = edges[i]->wait;
      const ThreadRecord& owner = *records[static_cast<std::size_t>(next[i])];
      LockInfo lock{reinterpret_cast<std::uintptr_t>(wait.object), wait.type != nullptr ? wait.type : "",
                    wait.read_name(), owner.id, owner.name()};
      deadlock.threads.push_back({records[i]->id, records[i]->name(), wait.kind, std::move(lock)});
    }
    // Each owner was read while its waiter was parked. If nobody has moved until now, no owner has released
    // anything since it was read, so all the edges hold at this moment together.
    const bool held = std::all_of(cycle.begin(), cycle.end(), [&](std::size_t i) {
      return still_waits(records[i]->park_site, edges[i]->wait) &&
             edges[i]->wait.read_owner() == edges[i]->owner;
    });
    if (held) deadlocks.push_back(std::move(deadlock));
  }
  return deadlocks;
}

}  // namespace detail

std::vector<Deadlock> find_deadlocks() {
  return detail::search_deadlocks(detail::ThreadRegistry::instance().snapshot());
}

}  // namespace creel
