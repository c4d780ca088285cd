#include "frame_name.hpp"
#include "scoped_bindings.hpp"
#include "thread_record.hpp"
#include "wait_snapshot.hpp"

#include <creel/runtime/detail/task_scope_core.hpp>
#include <creel/runtime/scoped_value.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>

namespace creel::detail {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

std::uint64_t next_stamp() noexcept {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, kRelaxed);
}

// What safe_read() copies of a node.
struct BindingCopy {
  std::uint64_t stamp, anti_stamp;
  const ScopedBinding* outer;
  const void* key;
  const void* value;
  const char* name;
  char text[ScopedBinding::kTextBytes];

  bool is_whole() const noexcept { return stamp != 0 && stamp == ~anti_stamp; }
};
static_assert(sizeof(BindingCopy) == sizeof(ScopedBinding));

std::optional<std::vector<ScopedValueInfo>> try_read(const ThreadRecord& record, std::size_t most) {
  std::vector<ScopedValueInfo> values;
  std::vector<const void*> keys;
  const ScopedBinding* const innermost = record.scoped_values.load(std::memory_order_acquire);
  std::uint64_t first_stamp = 0;
  for (const ScopedBinding* at = innermost; at != nullptr && values.size() < most;) {
    BindingCopy copy;
    if (!safe_read(at, &copy, sizeof copy) || !copy.is_whole()) return std::nullopt;
    if (at == innermost) first_stamp = copy.stamp;
    if (std::find(keys.begin(), keys.end(), copy.key) == keys.end()) {
      keys.push_back(copy.key);
      values.push_back({safe_read_text(copy.name), {copy.text, ::strnlen(copy.text, sizeof copy.text)}});
    }
    at = copy.outer;
  }
  // While the innermost binding is the same, it has been there all the time, and with it those around it. The
  // pointer first: in the other order a new binding could come into the old one's place between the two
  // looks.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (record.scoped_values.load(std::memory_order_acquire) != innermost) return std::nullopt;
  if (innermost == nullptr) return values;
  std::array<std::uint64_t, 2> stamps{};
  if (!safe_read(innermost, stamps.data(), sizeof stamps)) return std::nullopt;
  if (stamps[0] != first_stamp || stamps[1] != ~first_stamp) return std::nullopt;
  return values;
}

}  // namespace

BindingScope::BindingScope(ScopedBinding* bindings, std::size_t count)
    : record_(current_record()),
      bindings_(bindings),
      count_(count),
      before_(record_.scoped_values.load(kRelaxed)),
      scope_before_(innermost_task_scope(record_)) {
  const ScopedBinding* outer = before_;
  for (std::size_t i = 0; i < count; ++i) {
    bindings[i].outer = outer;
    outer = &bindings[i];
    const std::uint64_t stamp = next_stamp();
    bindings[i].anti_stamp.store(~stamp, kRelaxed);
    bindings[i].stamp.store(stamp, std::memory_order_release);
  }
  record_.scoped_values.store(outer, std::memory_order_release);  // a dump that sees it sees them whole
}

BindingScope::~BindingScope() {
  // A scope that was opened inside and is still open: its threads use these bindings.
  if (innermost_task_scope(record_) != scope_before_) [[unlikely]]
    close_task_scopes_within(record_, scope_before_);
  record_.scoped_values.store(before_, std::memory_order_release);
  for (std::size_t i = 0; i < count_; ++i) bindings_[i].stamp.store(0, kRelaxed);
}

const void* find_scoped_value(const void* key) noexcept {
  const ThreadRecord* self = current_record_or_null();
  if (self == nullptr) return nullptr;
  for (const ScopedBinding* binding = self->scoped_values.load(kRelaxed); binding != nullptr;
       binding = binding->outer) {
    if (binding->key == key) return binding->value;
  }
  return nullptr;
}

void throw_unbound(const std::string& name) {
  throw Error("the scoped value \"" + name + "\" is not bound on this thread; call from inside where(" +
              name + ", …).run(…), or ask is_bound()");
}

void render_text(char (&to)[ScopedBinding::kTextBytes], std::string_view text, char quote) noexcept {
  constexpr std::string_view kCut = "...";
  char* at = to;
  char* const end = to + sizeof to - 1;
  const std::size_t quotes = quote != 0 ? 2 : 0;
  const std::size_t room = static_cast<std::size_t>(end - to) - quotes;
  std::size_t length = text.size();
  if (length > room) {
    length = room - kCut.size();
    // Not in the middle of a character.
    while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xC0U) == 0x80U) --length;
  }
  if (quote != 0) *at++ = quote;
  for (const char c : text.substr(0, length))
    *at++ = static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
  if (length < text.size()) at = std::copy(kCut.begin(), kCut.end(), at);
  if (quote != 0) *at++ = quote;
  *at = '\0';
}

void render_type(char (&to)[ScopedBinding::kTextBytes], const std::type_info& type) noexcept {
  try {
    render_text(to, type_name(type), 0);
  } catch (const std::bad_alloc&) {
    render_text(to, type.name(), 0);
  }
}

std::vector<ScopedValueInfo> read_scoped_values(const ThreadRecord& record, std::size_t most) {
  if (record.scoped_values.load(kRelaxed) == nullptr) return {};
  constexpr int kAttempts = 8;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (auto values = try_read(record, most)) return *std::move(values);
  }
  return {};
}

}  // namespace creel::detail
