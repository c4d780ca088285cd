#include "deadlock_search.hpp"
#include "dump_engine.hpp"

#include <creel/runtime/lock_support.hpp>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <tuple>
#include <utility>

namespace creel {
namespace detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

// It is parked no longer, but has not had the processor yet.
bool is_woken(const ThreadRecord& record) noexcept {
  return record.permit.load(std::memory_order_acquire) == ThreadRecord::kPermit;
}

}  // namespace

DeadlockSearch::DeadlockSearch(std::span<const std::shared_ptr<ThreadRecord>> records,
                               std::vector<pid_t> foreign, Identify identify)
    : records_(records), foreign_(std::move(foreign)), identify_(std::move(identify)) {}

std::vector<Deadlock> DeadlockSearch::run() {
  collect();
  find_targets();
  WaitGraph graph(records_.size() + foreign_.size());
  std::vector<Edge*> edge_of(graph.size(), nullptr);
  for (Edge& edge : edges_) {
    graph[edge.node] = edge.targets;
    edge_of[edge.node] = &edge;
  }
  std::vector<Deadlock> deadlocks;
  for (const std::vector<std::size_t>& nodes : find_knots(graph)) {
    std::vector<Edge*> knot;
    for (const std::size_t node : nodes) knot.push_back(edge_of[node]);
    Deadlock deadlock = describe({knot.begin(), knot.end()});
    if (holds(knot)) deadlocks.push_back(std::move(deadlock));
  }
  return deadlocks;
}

void DeadlockSearch::collect() {
  for (std::size_t i = 0; i < records_.size(); ++i) {
    const ThreadRecord& record = *records_[i];
    const ParkSite& site = record.park_site;
    const bool parked = site.epoch.load(std::memory_order_acquire) % 2 != 0;
    if (parked && site.kind.load(kRelaxed) != WaitKind::External) {
      if (site.owner.load(kRelaxed) != nullptr || site.wakers.load(kRelaxed) != nullptr)
        add_parked(i, record);
      continue;
    }
    const pid_t tid = record.os_tid.load(kRelaxed);
    if (record.is_virtual || tid == 0) continue;
    // What a carrier is blocked in, the virtual thread waits for that it runs.
    const std::uint64_t carrying = record.is_virtual ? 0 : record.own().carrying.load(kRelaxed);
    if (const auto node = carrying != 0 ? node_of_id(carrying) : i) add_blocked(*node, tid);
  }
  for (std::size_t i = 0; i < foreign_.size(); ++i) add_blocked(records_.size() + i, foreign_[i]);
}

void DeadlockSearch::add_parked(std::size_t node, const ThreadRecord& record) {
  Edge edge;
  edge.node = node;
  edge.wait = read_wait(record.park_site);
  if (!edge.wait || edge.wait->timed) return;
  edge.owner = edge.wait->read_owner();
  if (edge.owner == 0) {
    edge.wakers = WakerSetReader::read(edge.wait->wakers);
    if (!edge.wakers) return;
  }
  edges_.push_back(std::move(edge));
}

void DeadlockSearch::add_blocked(std::size_t node, pid_t tid) {
  Edge edge;
  edge.node = node;
  edge.tid = tid;
  edge.call = read_blocked_call(tid);
  edge.lock = find_foreign_lock(edge.call);
  if (edge.lock.owner != 0 && !edge.lock.timed) edges_.push_back(std::move(edge));
}

void DeadlockSearch::find_targets() {
  for (Edge& edge : edges_) {
    const auto add = [&edge](std::optional<std::size_t> node) {
      if (node) edge.targets.push_back(*node);
    };
    if (!edge.wait) {
      add(node_of_tid(edge.lock.owner));
    } else if (edge.owner != 0) {
      add(node_of_id(edge.owner));
    } else {
      for (const std::uint64_t id : edge.wakers->ids) add(node_of_id(id));  // less those that have ended
    }
  }
}

// Each owner was read while its waiter was seen to wait. All of them are read once more, and then nobody must
// have moved since the first look: then there is a moment, between the last first look and the first last
// one, at which everybody waited, and since those who wait take nothing, owned what the second reading found.
bool DeadlockSearch::holds(std::span<Edge* const> knot) const {
  return std::all_of(knot.begin(), knot.end(),
                     [&](Edge* edge) {
                       if (edge->wait) return true;
                       edge->switches =
                           read_switches(edge->tid);  // their first look: the call alone tells no two apart
                       return edge->switches != 0 && read_blocked_call(edge->tid) == edge->call;
                     }) &&
         std::all_of(knot.begin(), knot.end(), [&](Edge* edge) { return read_again(*edge); }) &&
         std::all_of(knot.begin(), knot.end(), [&](const Edge* edge) { return is_unchanged(*edge); });
}

bool DeadlockSearch::read_again(Edge& edge) const {
  if (!edge.wait) return find_foreign_lock(edge.call).owner == edge.lock.owner;
  if (edge.owner != 0) return edge.wait->read_owner() == edge.owner;
  return WakerSetReader::read(edge.wait->wakers) == edge.wakers;
}

bool DeadlockSearch::is_unchanged(const Edge& edge) const {
  if (edge.wait) {
    const ThreadRecord& record = *records_[edge.node];
    return !is_woken(record) && still_waits(record.park_site, *edge.wait);
  }
  if (read_blocked_call(edge.tid) != edge.call || read_switches(edge.tid) != edge.switches) return false;
  if (edge.node >= records_.size() || !records_[edge.node]->is_virtual) return true;
  const auto carrier = node_of_id(records_[edge.node]->carrier.load(kRelaxed));
  return carrier && records_[*carrier]->os_tid.load(kRelaxed) == edge.tid;
}

LockInfo DeadlockSearch::describe_lock(const Edge& edge) const {
  LockInfo lock;
  if (edge.wait) {
    lock.address = reinterpret_cast<std::uintptr_t>(edge.wait->object);
    if (edge.wait->type != nullptr) lock.type = edge.wait->type;
    lock.name = edge.wait->read_name();
  } else {
    lock.address = edge.lock.address;
    lock.type = edge.lock.type;
  }
  if (!edge.wakers) std::tie(lock.owner, lock.owner_name) = name_of(edge.targets.front());
  return lock;
}

Deadlock DeadlockSearch::describe(std::span<const Edge* const> knot) const {
  Deadlock deadlock;
  for (const Edge* edge : knot) {
    DeadlockedThread& thread = deadlock.threads.emplace_back();
    std::tie(thread.id, thread.name) = name_of(edge->node);
    if (edge->wait) thread.wait = edge->wait->kind;
    thread.lock = describe_lock(*edge);
    if (!edge->wakers) continue;
    for (const std::size_t target : edge->targets) thread.wakers.push_back(name_of(target).second);
  }
  return deadlock;
}

std::pair<std::uint64_t, std::string> DeadlockSearch::name_of(std::size_t node) const {
  if (node < records_.size()) return {records_[node]->id, records_[node]->name()};
  const auto thread = identify_(foreign_[node - records_.size()]);
  return thread ? std::pair{thread->id, thread->stat.name} : std::pair{std::uint64_t{0}, std::string()};
}

std::optional<std::size_t> DeadlockSearch::node_of_id(std::uint64_t id) const noexcept {
  const auto found =
      std::lower_bound(records_.begin(), records_.end(), id,
                       [](const auto& record, std::uint64_t wanted) { return record->id < wanted; });
  if (found == records_.end() || (*found)->id != id) return std::nullopt;
  return static_cast<std::size_t>(found - records_.begin());
}

std::optional<std::size_t> DeadlockSearch::node_of_tid(pid_t tid) {
  if (by_tid_.empty()) {
    for (std::size_t i = 0; i < records_.size(); ++i) {
      // A carrier's tid is the carrier: a virtual thread that took the lock may run elsewhere by now.
      if (!records_[i]->is_virtual) by_tid_.emplace_back(records_[i]->os_tid.load(kRelaxed), i);
    }
    for (std::size_t i = 0; i < foreign_.size(); ++i) by_tid_.emplace_back(foreign_[i], records_.size() + i);
    std::sort(by_tid_.begin(), by_tid_.end());
  }
  const auto found = std::lower_bound(by_tid_.begin(), by_tid_.end(), std::pair{tid, std::size_t{0}});
  if (found == by_tid_.end() || found->first != tid) return std::nullopt;
  return found->second;
}

}  // namespace detail

std::vector<Deadlock> find_deadlocks() {
  std::vector<std::shared_ptr<detail::ThreadRecord>> records = detail::ThreadRegistry::instance().snapshot();
  const auto by_id = [](const auto& a, const auto& b) { return a->id < b->id; };
  if (!std::is_sorted(records.begin(), records.end(), by_id))
    std::sort(records.begin(), records.end(), by_id);
  std::vector<pid_t> known;
  for (const auto& record : records) {
    const pid_t tid = record->os_tid.load(detail::kRelaxed);
    if (tid != 0 && !record->is_virtual) known.push_back(tid);
  }
  std::sort(known.begin(), known.end());
  const auto identify = [](pid_t tid) -> std::optional<detail::ForeignThreads::Thread> {
    detail::DumpEngine& engine = detail::DumpEngine::instance();
    const std::lock_guard guard{engine.lock};
    auto threads = engine.foreign.identify({tid});
    if (threads.empty()) return std::nullopt;
    return std::move(threads.front());
  };
  return detail::DeadlockSearch(records, detail::ForeignThreads::tids(known), identify).run();
}

}  // namespace creel
