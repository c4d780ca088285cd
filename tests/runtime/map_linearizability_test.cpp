// The calls of ConcurrentHashMap on one key, and on several, are linearizable: see
// creel_test/linearizability.hpp.
#include "creel_test/linearizability.hpp"
#include "creel_test/sanitizer.hpp"

#include <creel/runtime/concurrent_hash_map.hpp>

#include <doctest/doctest.h>

#include <map>
#include <random>

namespace {

using creel::ConcurrentHashMap;
using creel_test::check_linearizability;
using creel_test::record_history;
using creel_test::Verdict;

constexpr std::size_t kThreads = 4;
constexpr std::size_t kCalls = 8;
constexpr int kRounds = creel_test::kThreadSanitizer ? 60 : 200;
constexpr int kKeys = 3;
constexpr int kNone = -1;

enum class What : std::uint8_t {
  Get,
  Contains,
  Put,
  PutIfAbsent,
  Remove,
  RemoveValue,
  Replace,
  ReplaceValue,
  Increment,
  DropIfOdd,
  Merge,
  MakeIfAbsent,
};
struct MapCall {
  What what;
  int key;
  int value = 0;   // put, or expected
  int next = 0;    // put in its place
  int answer = 0;  // a value or kNone; 0 or 1
};

struct MapSpec {
  using State = std::map<int, int>;
  using Operation = MapCall;

  static bool apply(State& state, const MapCall& call) {
    const auto at = state.find(call.key);
    const bool is_there = at != state.end();
    const int before = is_there ? at->second : kNone;
    switch (call.what) {
      case What::Get:
        return call.answer == before;
      case What::Contains:
        return call.answer == (is_there ? 1 : 0);
      case What::Put:
        state[call.key] = call.value;
        return call.answer == before;
      case What::PutIfAbsent:
        if (!is_there) state[call.key] = call.value;
        return call.answer == before;
      case What::Remove:
        state.erase(call.key);
        return call.answer == before;
      case What::RemoveValue:
        if (before != call.value) return call.answer == 0;
        state.erase(call.key);
        return call.answer == 1;
      case What::Replace:
        if (is_there) at->second = call.value;
        return call.answer == before;
      case What::ReplaceValue:
        if (before != call.value) return call.answer == 0;
        at->second = call.next;
        return call.answer == 1;
      case What::Increment:
        state[call.key] = is_there ? before + 1 : 0;
        return call.answer == state[call.key];
      case What::DropIfOdd:
        if (is_there && before % 2 == 1) {
          state.erase(call.key);
          return call.answer == kNone;
        }
        return call.answer == before;
      case What::Merge:
        state[call.key] = is_there ? before + call.value : call.value;
        return call.answer == state[call.key];
      case What::MakeIfAbsent:
        if (!is_there) state[call.key] = call.value;
        return call.answer == state[call.key];
    }
    return false;
  }
  static std::string key(const State& state) {
    std::string text;
    for (const auto& [key, value] : state) text += ' ' + std::to_string(key) + '=' + std::to_string(value);
    return text;
  }
};

struct OneBucket {
  std::size_t operator()(int) const noexcept { return 7; }
};

// A value that is no number, so that nodes are exchanged, and one that is, which is exchanged in place.
struct Boxed {
  Boxed(int value) : number(std::make_shared<int>(value)) {}  // NOLINT: as an int
  operator int() const { return *number; }                    // NOLINT
  std::shared_ptr<int> number;
  friend bool operator==(const Boxed& a, const Boxed& b) { return *a.number == *b.number; }
};
struct InPlace {
  ConcurrentHashMap<int, int> map;
};
struct InPlaceOneBucket {
  ConcurrentHashMap<int, int, OneBucket> map;
};
struct Exchanged {
  ConcurrentHashMap<int, Boxed> map;
};
struct ExchangedOneBucket {
  ConcurrentHashMap<int, Boxed, OneBucket> map;
};

template <typename V>
int or_none(const std::optional<V>& value) {
  return value ? static_cast<int>(*value) : kNone;
}

template <typename Map>
MapCall call_one(Map& map, int value, unsigned draw) {
  using V = typename Map::mapped_type;
  const int key = static_cast<int>(draw / 16 % kKeys);
  const int other = static_cast<int>(draw / 64 % (kThreads * kCalls));
  switch (draw % 14) {
    case 0:
      return {What::Put, key, value, 0, or_none(map.put(key, value))};
    case 1:
      return {What::PutIfAbsent, key, value, 0, or_none(map.put_if_absent(key, value))};
    case 2:
    case 3:
      return {What::Remove, key, 0, 0, or_none(map.remove(key))};
    case 4:
      return {What::RemoveValue, key, other, 0, map.remove(key, other) ? 1 : 0};
    case 5:
      return {What::Replace, key, value, 0, or_none(map.replace(key, value))};
    case 6:
      return {What::ReplaceValue, key, other, value, map.replace(key, other, value) ? 1 : 0};
    case 7:
    case 8:
      return {What::Increment, key, 0, 0, or_none(map.compute(key, [](int, const V* before) {
                return V(before != nullptr ? *before + 1 : 0);
              }))};
    case 9:
      return {What::DropIfOdd, key, 0, 0, or_none(map.compute_if_present(key, [](int, const V& before) {
                return before % 2 == 1 ? std::nullopt : std::optional<V>(before);
              }))};
    case 10:
      return {What::Merge, key, value, 0,
              or_none(map.merge(key, value, [](const V& a, const V& b) { return V(a + b); }))};
    case 11:
      return {What::MakeIfAbsent, key, value, 0,
              or_none(map.compute_if_absent(key, [&](int) { return V(value); }))};
    case 12:
      return {What::Contains, key, 0, 0, map.contains_key(key) ? 1 : 0};
    default:
      return {What::Get, key, 0, 0, or_none(map.get(key))};
  }
}

unsigned draw_of(int round, std::size_t thread, std::size_t i) {
  std::minstd_rand random(static_cast<unsigned>(round) * 7919u + static_cast<unsigned>(thread * 131 + i) + 1);
  random.discard(3);
  return static_cast<unsigned>(random());
}

template <typename Made>
std::size_t rounds_refused() {
  std::size_t refused = 0;
  for (int round = 0; round < kRounds; ++round) {
    Made made;
    const auto history = record_history<MapCall>(kThreads, kCalls, [&](std::size_t thread, std::size_t i) {
      return call_one(made.map, static_cast<int>(thread * kCalls + i), draw_of(round, thread, i));
    });
    const Verdict verdict = check_linearizability<MapSpec>(history);
    CHECK(verdict != Verdict::Undecided);
    refused += verdict == Verdict::NotLinearizable ? 1 : 0;
  }
  return refused;
}

}  // namespace

TEST_CASE_TEMPLATE("concurrent_hash_map: it is linearizable", Made, InPlace, InPlaceOneBucket, Exchanged,
                   ExchangedOneBucket) {
  CHECK(rounds_refused<Made>() == 0);
}

namespace {

// Looks and puts in two steps, so that two threads may build on the same value.
class TornMap : public ConcurrentHashMap<int, int> {
 public:
  template <typename Function>
  std::optional<int> compute(int key, const Function& function) {
    const std::optional<int> before = get(key);
    creel::Thread::yield();
    const int next = function(key, before ? &*before : nullptr);
    put(key, next);
    return next;
  }
};
struct Torn {
  TornMap map;
};

}  // namespace

TEST_CASE("concurrent_hash_map: a map that computes in two steps is found out") {
  CHECK(rounds_refused<Torn>() > 0);
}

// One key's writer goes up; each reader must never see it go back, on whatever table or node it looks.
TEST_CASE("concurrent_hash_map: what a reader sees of one key never goes back, while the table is rebuilt") {
  ConcurrentHashMap<int, long, OneBucket> in_place;
  ConcurrentHashMap<int, std::string, OneBucket> exchanged;
  constexpr int kSteps = creel_test::kThreadSanitizer ? 2'000 : 20'000;
  std::atomic<bool> end{false};
  std::atomic<int> went_back{0};
  std::vector<creel::Thread> readers;
  for (int t = 0; t < 3; ++t) {
    auto builder = t % 2 == 0 ? creel::Thread::of_platform() : creel::Thread::of_virtual();
    readers.push_back(builder.start([&] {
      long last = 0;
      long last_text = 0;
      while (!end) {
        const long now = in_place.get_or_default(1, 0);
        const long now_text = std::stol(exchanged.get_or_default(1, "0"));
        went_back += (now < last ? 1 : 0) + (now_text < last_text ? 1 : 0);
        last = now;
        last_text = now_text;
        creel::Thread::yield();
      }
    }));
  }
  for (int i = 1; i <= kSteps; ++i) {
    in_place.put(1, i);
    exchanged.put(1, std::to_string(i) + " and more than fits in a small string");
    in_place.put(2 + i % 30, 0);  // other keys come and go: places are used again
    exchanged.put(2 + i % 30, "0");
    if (i % 3 == 0) in_place.remove(2 + i / 3 % 30);
    if (i % 3 == 0) exchanged.remove(2 + i / 3 % 30);
  }
  end = true;
  for (const creel::Thread& reader : readers) CHECK(reader.join(std::chrono::seconds(60)));
  CHECK(went_back == 0);
  CHECK(in_place.get(1) == kSteps);
}
