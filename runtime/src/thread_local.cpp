#include "thread_local_map.hpp"
#include "thread_record.hpp"

#include <utility>

namespace creel::detail {
namespace {

std::uint64_t next_key_id() noexcept {
  static std::atomic<std::uint64_t> next{1};
  // Times an odd constant, 2^64 over the golden ratio: one to one, and its upper bits are spread for any
  // choice of keys that one thread happens to use.
  return next.fetch_add(1, std::memory_order_relaxed) * 0x9E37'79B9'7F4A'7C15U;
}

void destroy(const ThreadLocalMap::Entry& entry) noexcept {
  if (entry.id != 0) entry.key->destroy(entry.value);
}

}  // namespace

ThreadLocalKey::ThreadLocalKey(bool is_inherited) noexcept : id(next_key_id()), inherited(is_inherited) {}

std::size_t ThreadLocalMap::place_of(std::uint64_t id) const noexcept {
  std::size_t i = home(id);
  while (entries_[i].id != id && entries_[i].id != 0) i = next(i);
  return i;
}

void ThreadLocalMap::store(const std::shared_ptr<const ThreadLocalKey>& key, void* value) {
  std::vector<Entry> dead;
  if (entries_[place_of(key->id)].id == 0 && 4 * (size_ + 1) > 3 * entries_.size()) dead = make_room();
  Entry& entry = entries_[place_of(key->id)];
  const Entry before = std::exchange(entry, Entry{key->id, value, key});
  if (before.id == 0) {
    ++size_;
    if (key->inherited) ++inherited_;
  }
  destroy(before);
  for (const Entry& each : dead) destroy(each);
}

void ThreadLocalMap::remove(std::uint64_t id) noexcept {
  const std::size_t i = place_of(id);
  if (entries_[i].id != 0) destroy(take(i));
}

// Takes the entry out and moves those behind it up, so that every search still ends at a free place.
ThreadLocalMap::Entry ThreadLocalMap::take(std::size_t i) noexcept {
  Entry taken = std::exchange(entries_[i], Entry{});
  --size_;
  if (taken.key->inherited) --inherited_;
  const std::size_t mask = entries_.size() - 1;
  for (std::size_t j = next(i); entries_[j].id != 0; j = next(j)) {
    const std::size_t from_home = (j - home(entries_[j].id)) & mask;
    if (from_home < ((j - i) & mask)) continue;  // it would stand before its home
    entries_[i] = std::exchange(entries_[j], Entry{});
    i = j;
  }
  return taken;
}

// Takes out the values of variables that are gone; doubles the table if that does not help. Returns what it
// took: their destructors may run only when the map is whole.
std::vector<ThreadLocalMap::Entry> ThreadLocalMap::make_room() {
  std::vector<Entry> dead, alive;
  for (Entry& entry : entries_) {
    if (entry.id != 0) (entry.key->is_dead.load(std::memory_order_relaxed) ? dead : alive).push_back(entry);
  }
  const bool is_larger = 2 * (alive.size() + 1) > entries_.size();
  std::vector<Entry> fresh(is_larger ? 2 * entries_.size() : entries_.size());
  entries_.swap(fresh);  // nothing throws from here on
  if (is_larger) ++bits_;
  size_ = alive.size();
  inherited_ = 0;
  for (Entry& entry : alive) {
    if (entry.key->inherited) ++inherited_;
    Entry& place = entries_[place_of(entry.id)];
    place = std::move(entry);
  }
  return dead;
}

void ThreadLocalMap::clear() noexcept {
  for (std::size_t i = 0; size_ > 0; i = next(i)) {
    while (entries_[i].id != 0) destroy(take(i));
  }
}

void ThreadLocalMap::inherit_into(std::unique_ptr<ThreadLocalMap>& child) const {
  if (inherited_ == 0) return;
  std::vector<Entry> passed_on;  // a copy: the user's functions below may come back to this map
  for (const Entry& entry : entries_) {
    if (entry.id != 0 && entry.key->inherited && !entry.key->is_dead.load(std::memory_order_relaxed))
      passed_on.push_back(entry);
  }
  if (passed_on.empty()) return;
  auto map = std::make_unique<ThreadLocalMap>();
  for (const Entry& entry : passed_on) {
    void* value = entry.key->inherit(entry.value);
    try {
      map->store(entry.key, value);
    } catch (...) {
      entry.key->destroy(value);
      throw;
    }
  }
  child = std::move(map);
}

void* find_thread_local(std::uint64_t key) noexcept {
  const ThreadLocalMap* map = current_record().locals.get();
  return map != nullptr ? map->find(key) : nullptr;
}

void store_thread_local(const std::shared_ptr<const ThreadLocalKey>& key, void* value) {
  auto& map = current_record().locals;
  if (map == nullptr) map = std::make_unique<ThreadLocalMap>();
  map->store(key, value);
}

void remove_thread_local(std::uint64_t key) noexcept {
  // A thread that creel has not met, or does not know any more, has no values.
  ThreadRecord* self = current_record_or_null();
  if (self != nullptr && self->locals != nullptr) self->locals->remove(key);
}

void inherit_thread_locals(const ThreadRecord& parent, ThreadRecord& child) {
  if (parent.locals != nullptr) parent.locals->inherit_into(child.locals);
}

void end_thread_locals(ThreadRecord& self) noexcept {
  if (self.locals == nullptr) return;
  self.locals->clear();
  self.locals.reset();
}

}  // namespace creel::detail
